"""One run of a stage: input, plan, output, journal, worker, manifest, rejects."""
