"""What is learned: a domain writes the prompts, turns self-edits into lessons and poses the questions."""
