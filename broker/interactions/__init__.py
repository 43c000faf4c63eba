"""What happens to a message after it was published: it is changed, and annotated."""
