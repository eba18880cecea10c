"""The names that `import spuriscope as ss` gives: no more and no less than are meant."""

import subprocess
import sys

import spuriscope

PUBLIC = """
    ATTACKS Adequacy Anywhere Attack Audit COVER_NAMES Cell ContextMeasures Cover DataKey FailedCell Finding
    Fit Game ImageSet Knowledge METHODS Measures ModelForm PATTERN_NAMES Part Pattern PlacementScores
    Plant Predict Privacy RareContext Recipe RidgeModel Run SHADE_NAMES Shade Split SpuriscopeError
    TrainedModel accuracy adequacy attack_game audit audit_model build_model check_answers delete
    deletion_check discover draw_planted empirical_norm load load_audit load_model load_onnx load_run
    measure measure_context missing_contexts module_predict normalised_spurious_score open_model
    paper_recipe parse_planted_set
    pattern pixel_removal_sensitivity placement_scores plan_audit predicted_share prepare_contexts
    probabilities register_architecture register_attack register_data register_deletion
    register_embedding register_measure register_pattern register_transplant
    repair save_run sklearn_fit sklearn_predict spurious_accuracy spurious_score train
    train_cell train_many weight_importance write_audit
""".split()


def test_public_names() -> None:
    assert sorted(spuriscope.__dir__()) == sorted(PUBLIC)
    for name in PUBLIC:
        assert getattr(spuriscope, name) is not None


def test_importing_computes_nothing() -> None:
    """Neither the package nor the command line, asked for help, imports what takes time to."""
    heavy = ("torch", "numpy", "matplotlib", "rich", "scipy", "sklearn", "yaml", "msgspec")
    code = f"""
import contextlib, io, sys, spuriscope.cli
for command in ([], ["audit"], ["study", "run"], ["data", "list"]):
    sys.argv = ["spuriscope", *command, "--help"]
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        spuriscope.cli.main()
print([m for m in {heavy} if m in sys.modules], len(sys.modules) < 400)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"
