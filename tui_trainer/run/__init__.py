"""What a run says, can be told, and leaves on disk. Knows neither torch nor a screen."""
