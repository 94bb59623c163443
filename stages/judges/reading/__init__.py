"""What a gold answer and an answer say: signs and letters that tell, names in scripts without spaces, claims."""
