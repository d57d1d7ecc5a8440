"""From phrases to a checkpoint, and from a checkpoint to a model file."""
