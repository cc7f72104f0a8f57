"""StyleServe: paintings out of photographs, as a service. The journey of a request:

1. `rpc` receives a StylizeRequest and learns who calls; `rpc.requests` decodes and validates all of it at once.
2. `jobs` admits it: joins a request ID, bounds the queue, stores job and images on disk, answers.
3. When it is the caller's turn and the engine has room, the job goes to the process that `workers` keeps.
4. There `engine` admits it: the evaluator computes the targets, the optimizer takes the first canvas.
5. `engine` repeats one line: choose jobs of one shape, evaluate them in a batch, advance each. Now and then it
   writes a job down, for the engine that would have to go on with it.
6. Evaluating is `model`'s: VGG19 features, Gram matrices, losses, one backward pass.
7. Advancing is `optimizers`': L-BFGS of our own, Adam in a traced `train_step`, or SciPy's L-BFGS-B.
8. Each advance is an event (`events`) that comes back up once and reaches every watcher of the job.
9. `jobs` finishes the picture: colours, alpha, encoding, provenance; it is kept until it expires.
10. `rpc` answers the waiting call and ends the streams.
"""
