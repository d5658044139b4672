"""Tables, figures and pages, from run and study folders."""
