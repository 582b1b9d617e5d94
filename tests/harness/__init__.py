"""Parts that tests share: the stack, a faulty proxy, scripted workers and models, processes, waiting."""
