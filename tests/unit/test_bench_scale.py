"""The calculation of what binds first has all of its figures in the repository."""

import scale


def test_scale_reads_the_figures_of_the_report() -> None:
    lines = [line for path in scale.MEASURED for line in path.read_text().splitlines()]
    figures = scale.read_figures(lines, "audio of 65 s")
    assert figures.calls["complete_smelt"] == 1
    assert figures.call_ms.keys() >= {"claim_smelts", "report_smelt_progress", "complete_smelt", "create_smelt"}
    needed = scale.needs(figures, workers=100)
    assert needed.keys() == scale.UNITS.keys()
    assert all(need.per_smelt > 0 for need in needed.values())
