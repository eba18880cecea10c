"""The page that people look at, drawn only from an audit's document."""
