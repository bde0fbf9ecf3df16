"""From station events to outcomes: the callback runs for each."""
