"""The trust report lists the doubtful parts of a transcript."""

from smelt.contract.state import Trust
from smelt.contract.work import SavedSegment
from smelt.processor.speech.checkpoint import Findings
from smelt.processor.speech.trust import trust_report


def test_trust_report_lists_doubtful_segments() -> None:
    def segment(index: int, text: str, logprob: float = -0.1, compression: float = 1.0) -> SavedSegment:
        return SavedSegment(
            index=index, start=index, end=index + 1, text=text, avg_logprob=logprob, compression_ratio=compression
        )

    segments = [
        segment(0, "thank you."),
        segment(1, "Thank you."),
        segment(2, "thank you."),
        segment(3, "so.", logprob=-1.5),
        segment(4, "la la la la la", compression=3.0),
        segment(5, "so."),
        segment(6, "so."),
    ]
    report = trust_report(segments, Findings(silence_s=12.345))
    assert report == {
        "silence_seconds": 12.35,
        "low_confidence_segments": [3],
        "repeated_segments": [0, 1, 2, 4],
        "untranscribed_seconds": 0.0,
        "untranscribed": [],
        "retried": [],
        "languages": [],
    }
    assert trust_report([], Findings())["repeated_segments"] == []


def test_trust_report_adds_the_findings_of_all_windows() -> None:
    findings = Findings()
    findings = findings.with_window(language="de", text_s=30.0, untranscribed=((1.0, 3.5),), retried=())
    findings = findings.with_window(language="en", text_s=10.0, untranscribed=((31.0, 33.0),), retried=((30.0, 60.0),))
    findings = findings.with_window(language="fr", text_s=0.0, untranscribed=(), retried=())
    trust = Trust.model_validate(trust_report([], findings.with_silence(2.0).with_silence(0.5)) | {"model": "base"})
    assert trust.silence_seconds == 2.5
    assert trust.untranscribed_seconds == 4.5
    assert trust.untranscribed == ((1.0, 3.5), (31.0, 33.0))
    assert trust.retried == ((30.0, 60.0),)
    assert [(found.language, found.seconds, found.share) for found in trust.languages] == [
        ("de", 30.0, 0.75),
        ("en", 10.0, 0.25),
    ]


def test_trust_report_is_bounded_and_still_counts_all_seconds() -> None:
    findings = Findings()
    for n in range(300):
        findings = findings.with_window(
            language="en", text_s=1.0, untranscribed=((n, n + 1.0),), retried=((n, n + 1.0),)
        )
    report = trust_report([], findings)
    assert report["untranscribed_seconds"] == 300
    assert len(report["untranscribed"]) == len(report["retried"]) == 100
