"""What stands under everything: files that survive a kill, locks, the console, errors, seeds, how results look."""
