"""Self-contained HTML pages: the map of a survey, and the review of objects by eye."""
