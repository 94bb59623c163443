"""Read gold answers and answers: letters and signs that matter, names in scripts without spaces, claims."""
