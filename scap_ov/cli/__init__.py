"""The command line `scap-ov`: one file per command, listed in main.py."""
