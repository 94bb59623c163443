"""What a stage will cost, before it is done: a rehearsal without its model, and the speed of this machine."""
