"""Transcribes a decoded recording window by window, so that a killed run can be resumed.

From the outside inwards: `shared` holds the model of a worker and decides with `breaker` whether it can be used;
`loaded` is its connection to the child that has it, and `values` are their messages. The rest runs in that child:
`model` loads, `transcriber` cuts a recording into spans (`spans`), finds their speech (`vad`) and yields passages with
a `checkpoint` each. `windows` decides how often a window is decoded and in which language (`languages`), `parallel`
does so for several windows at a time; `decoder` runs the model on windows and splits the text at its timestamps
(`tokens`). `resume_filter` drops what an earlier run has saved; `trust` reports on the result.
"""
