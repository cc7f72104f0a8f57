"""The job's life outside the engine: admission, queue, dispatch, feed, images, results."""
