"""What the records mean: statistics, tables, figures and a report, computed from the records alone."""
