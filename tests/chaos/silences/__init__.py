"""How long the whole group is silent when something happens to one of its workers."""
