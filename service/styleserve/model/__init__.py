"""The model: VGG19's features, the losses on them, and the evaluator that judges canvases by both."""
