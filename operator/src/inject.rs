//! Decides what a pod gets: the raw pod in, a JSON patch and what to say about it out.
