"""A package, for the wheel of sleap-io brings one of this name, which would hide a mere folder."""
