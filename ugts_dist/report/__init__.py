"""Self-contained HTML pages of runs, searches and reproductions."""
