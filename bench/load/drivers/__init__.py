"""One broker each, spoken to as its own clients do."""
