defmodule Mix.Tasks.AxonPort.DoctorTest do
  # The shell is Mix's own, one for all.
  use ExUnit.Case, async: false

  alias Mix.Tasks.AxonPort.Doctor

  setup do
    shell = Mix.shell()
    Mix.shell(Mix.Shell.Process)
    on_exit(fn -> Mix.shell(shell) end)
  end

  test "prints the checks of the worker that would be started" do
    Doctor.run([])
    assert_received {:mix_shell, :info, [report]}
    assert report =~ "pydantic-ai"
    refute report =~ "FAILED"
  end

  test "fails, and has said what to do, where a check does" do
    assert_raise Mix.Error, ~r/cannot be started/, fn ->
      Doctor.run(["--command", "no-such-program --flag"])
    end

    assert_received {:mix_shell, :info, [report]}
    assert report =~ "no-such-program"
    assert report =~ "->"
  end

  test "refuses what it does not know" do
    for arguments <- [["--colour"], ["now"]] do
      assert_raise Mix.Error, ~r/--command/, fn -> Doctor.run(arguments) end
    end
  end
end
