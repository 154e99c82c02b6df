"""`asynccore enable` and `disable`, in virtual environments made for the test."""

from __future__ import annotations

import subprocess

import pytest

from compat.command_line import cli, enabling

SHOW = "import asyncore, asynchat, smtpd; print([m.__name__ for m in (asyncore, asynchat, smtpd)])"
OURS = "['asynccore', 'asynccore.asynchat', 'asynccore.smtpd']\n"
COMMAND = ("-m", "asynccore")


def test_enable_and_disable(installed):
    before = installed("-W", "ignore", "-c", SHOW)
    assert before[1] != OURS
    status, out, err = installed(*COMMAND, "enable")
    assert (status, err) == (0, "")
    pth, helper = (installed.site_packages / name for name in (enabling.PTH, enabling.HELPER))
    assert out.startswith("enabled: programs run by ")
    assert f"  wrote {pth}\n" in out
    assert f"  wrote {helper}\n" in out
    assert pth.read_text().startswith("import ")
    assert pth.read_text().count("\n") == 1

    assert installed("-W", "error", "-c", SHOW) == (0, OURS, "")
    assert installed(*COMMAND, "enable") == (0, f"already enabled: {pth}\n", "")

    status, out, err = installed(*COMMAND, "disable")
    assert (status, err) == (0, "")
    assert f"  removed {pth}\n" in out
    assert list(installed.site_packages.rglob("*asynccore*names*")) == []
    assert installed("-W", "ignore", "-c", SHOW) == before
    assert installed(*COMMAND, "disable") == (0, f"not enabled: there is no {pth}\n", "")


def test_a_script_runs_as_it_is(installed, tmp_path):
    assert installed(*COMMAND, "enable")[0] == 0
    (tmp_path / "script.py").write_text(SHOW + "; import sys; print(sys.argv, __name__)")
    assert installed("-W", "error", "script.py", "x") == (
        0,
        OURS + "['script.py', 'x'] __main__\n",
        "",
    )
    status, out, err = installed("-W", "error", "-m", "smtpd", "--version")
    assert (status, "Python SMTP proxy version" in out + err) == (0, True)
    assert installed("-W", "error", "-m", "asyncore", "localhost", "1") == (0, "", "")
    # The environment variable and the finder do not get into each other's way.
    assert installed("-W", "error", *COMMAND, "run", "script.py")[:2] == (
        0,
        OURS + "['script.py'] __main__\n",
    )


def test_isolated_interpreters_get_the_names_too(installed):
    assert installed(*COMMAND, "enable")[0] == 0
    assert installed("-I", "-c", SHOW) == (0, OURS, "")


def test_starting_costs_nothing(installed):
    code = "import sys; print(sorted(sys.modules))"
    before = eval(installed("-c", code)[1])
    assert installed(*COMMAND, "enable")[0] == 0
    after = eval(installed("-c", code)[1])
    assert set(after) - set(before) == {"_asynccore_names"}
    assert "asynccore" not in after


def test_it_wins_over_other_packages_that_provide_the_names(installed):
    (installed.site_packages / "asyncore.py").write_text("")
    assert installed(*COMMAND, "enable")[0] == 0
    assert installed("-c", SHOW) == (0, OURS, "")


def test_a_program_s_own_module_stays(installed, tmp_path):
    assert installed(*COMMAND, "enable")[0] == 0
    (tmp_path / "smtpd.py").write_text("print('own')")
    (tmp_path / "asynchat").mkdir()  # a folder without __init__.py never won over a module
    (tmp_path / "script.py").write_text(SHOW)
    wanted = OURS.replace("asynccore.smtpd", "smtpd")
    assert installed("script.py") == (0, f"own\n{wanted}", "")


def test_after_asynccore_was_uninstalled(installed):
    before = installed("-W", "ignore", "-c", "import smtpd")
    assert installed(*COMMAND, "enable")[0] == 0
    (installed.site_packages / "asynccore.pth").unlink()
    assert installed("-c", "print('started')") == (0, "started\n", "")
    after = installed("-W", "ignore", "-c", "import smtpd")
    assert (after[0], after[1], after[2].splitlines()[-1:]) == (
        before[0],
        before[1],
        before[2].splitlines()[-1:],
    )


def test_what_is_left_of_asynccore_is_no_asynccore(installed):
    assert installed(*COMMAND, "enable")[0] == 0
    (installed.site_packages / "asynccore.pth").unlink()
    (installed.site_packages / "asynccore").mkdir()
    code = "import _asynccore_names as n; print(n.Finder.find_spec('smtpd'))"
    assert installed("-c", code) == (0, "None\n", "")
    (installed.site_packages / "asynccore" / "__init__.py").write_text("")
    assert installed("-c", code) == (0, "None\n", "")


def test_an_older_copy_is_renewed(installed):
    assert installed(*COMMAND, "enable")[0] == 0
    (installed.site_packages / enabling.HELPER).write_text("def enable(): pass\n")
    status, out, _ = installed(*COMMAND, "enable")
    assert (status, out.split(":")[0]) == (0, "renewed")
    assert installed("-c", SHOW) == (0, OURS, "")


def test_it_refuses_where_asynccore_is_not_installed(environment, asynccore_root):
    start = f"import sys; sys.path.insert(0, {str(asynccore_root)!r})"
    start += "; from compat.command_line.cli import main"
    status, out, err = environment("-c", f"{start}; sys.exit(main(['enable']))")
    assert (status, out) == (1, "")
    assert "cannot import asynccore by itself" in err
    assert environment.legacy_files() == []


def test_outside_a_virtual_environment_it_refuses(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(enabling.sys, "prefix", "/usr")
    monkeypatch.setattr(enabling.sys, "base_prefix", "/usr")
    monkeypatch.setattr(enabling.sysconfig, "get_path", lambda name: str(tmp_path / name))
    for command in ("enable", "disable"):
        assert cli.main([command]) == 1
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith(f"asynccore {command}: /usr is not a virtual environment. ")
        assert "--user" in err
        assert "--system" in err
    assert enabling.site_packages("system") == tmp_path / "purelib"
    assert list(tmp_path.iterdir()) == []


def test_inside_a_virtual_environment_no_place_need_be_said(monkeypatch, tmp_path):
    monkeypatch.setattr(enabling.sys, "prefix", "/env")
    monkeypatch.setattr(enabling.sysconfig, "get_path", lambda name: str(tmp_path / name))
    assert enabling.site_packages() == tmp_path / "purelib"


def test_the_user_s_site_packages(monkeypatch, tmp_path):
    monkeypatch.setattr(enabling.site, "ENABLE_USER_SITE", True)
    monkeypatch.setattr(enabling.site, "getusersitepackages", lambda: str(tmp_path))
    assert enabling.site_packages("user") == tmp_path
    monkeypatch.setattr(enabling.site, "ENABLE_USER_SITE", False)
    with pytest.raises(enabling.Refused, match="does not look into the user's site-packages"):
        enabling.site_packages("user")


def test_disable_can_be_said_with_a_place(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(enabling.sysconfig, "get_path", lambda name: str(tmp_path))
    for name in (enabling.PTH, enabling.HELPER):
        (tmp_path / name).write_text("")
    assert cli.main(["disable", "--system"]) == 0
    assert "disabled:" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
    assert cli.main(["disable", "--system"]) == 0
    assert "not enabled:" in capsys.readouterr().out


def test_enable_makes_the_folder_and_says_what_went_wrong(monkeypatch, tmp_path, capsys):
    folder = tmp_path / "lib" / "site-packages"
    monkeypatch.setattr(enabling.sysconfig, "get_path", lambda name: str(folder))
    answers = iter([enabling.ANSWER, "no asyncore here"])
    monkeypatch.setattr(enabling, "_probe", lambda: next(answers))
    assert cli.main(["enable", "--system"]) == 0
    assert sorted(file.name for file in folder.iterdir()) == sorted([enabling.HELPER, enabling.PTH])
    assert cli.main(["enable", "--system"]) == 0
    assert "already enabled:" in capsys.readouterr().out
    (folder / enabling.HELPER).unlink()
    assert cli.main(["enable", "--system"]) == 1
    assert "(import asyncore gave: no asyncore here)" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(monkeypatch, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(enabling.sysconfig, "get_path", lambda name: str(tmp_path / "file"))
    assert cli.main(["enable", "--system"]) == 1
    assert capsys.readouterr().err.startswith("asynccore enable: [Errno ")


@pytest.mark.parametrize(
    ("done", "answer"),
    [
        ((0, "warming up\nasynccore\n", "noise"), "asynccore"),
        ((1, "", "Traceback…\nModuleNotFoundError: No module\n"), "ModuleNotFoundError: No module"),
        ((-9, "", ""), "exit status -9"),
    ],
)
def test_the_probe(done, answer, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "elsewhere")
    seen = {}

    def run(command, **options):
        seen.update(options)
        return subprocess.CompletedProcess(command, *done)

    monkeypatch.setattr(enabling.subprocess, "run", run)
    assert enabling._probe() == answer
    assert "PYTHONPATH" not in seen["env"]
