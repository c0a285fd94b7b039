"""What kpwidget costs a person's patience; ``python -m benchmarks`` prints one table."""
