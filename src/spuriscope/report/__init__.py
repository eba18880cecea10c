"""The page that people look at, drawn from an audit's document and from nothing else."""
