"""Tests in a real browser: JupyterLab 4 and Notebook 7 in Chromium, driven by mouse and keys."""
