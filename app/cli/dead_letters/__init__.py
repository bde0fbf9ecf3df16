"""Dead letters from the operator's side: looking at them, and sending them again (`faust -A app dead-letters`)."""
