"""Faults of VASP on the true path: engine, atomate2, custodian, process, handlers, outcome."""

import pytest

from tests.standin import matrix


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """Each kind of run without a fault."""
    return {
        kind: matrix.observe("", kind, tmp_path_factory.mktemp(kind, numbered=False))[1]
        for kind in matrix.KINDS
    }


def test_without_a_fault_nobody_intervenes(references):
    label = references["label"]
    assert (label.status.value, label.reason, label.corrections) == ("converged", "", ())
    for kind in ("dynamics", "relaxation"):
        run = references[kind]
        assert (run.n_steps, run.failure, run.corrections) == (matrix.N_STEPS, "", ())


@pytest.mark.parametrize("case", matrix.CASES, ids=lambda case: f"{case.fault}-{case.run}")
def test_a_fault_is_corrected_or_typed(case, references, tmp_path):
    seen, _ = matrix.observe(case.fault, case.run, tmp_path, references[case.run])
    assert seen.handlers == case.handlers
    assert seen.actions == case.actions
    assert seen.outcome.startswith(case.outcome)
    row = matrix.line(case, seen)
    assert row in matrix.PAGE.read_text(encoding="utf-8").splitlines(), (
        f"docs/vasp_faults.md says otherwise; if what is seen here is right, run: {matrix.COMMAND}"
    )


def test_the_page_has_these_faults_and_no_others():
    text = matrix.PAGE.read_text(encoding="utf-8")
    head, rule, rows = text.partition("|---|---|---|---|---|\n")
    assert rule
    assert head + rule == matrix.page([]).rstrip("\n") + "\n"
    assert len(rows.splitlines()) == len(matrix.CASES)
