defmodule AxonPort.PythonEnvTest do
  use ExUnit.Case, async: true

  alias AxonPort.PythonEnv
  alias AxonPort.PythonEnv.{Check, Program}

  @moduletag :tmp_dir

  defp script(dir, name, body) do
    path = Path.join(dir, name)
    File.write!(path, "#!/bin/sh\n" <> body)
    File.chmod!(path, 0o755)
    path
  end

  # A Python of this version, which runs nothing else.
  defp python(dir, name, version, otherwise \\ "exit 1") do
    script(dir, name, """
    case "$*" in
      *version_info*) echo #{version} ;;
      *) #{otherwise} ;;
    esac
    """)
  end

  defp statuses(checks), do: Enum.map(checks, & &1.status)
  defp failed(checks), do: Enum.find(checks, &(&1.status == :failed))

  test "all is well where a worker can be started" do
    assert {:ok, checks} = PythonEnv.check()
    assert Enum.map(checks, & &1.name) == [:program, :interpreter, :package, :codec, :start]
    assert statuses(checks) == [:ok, :ok, :ok, :ok, :ok]
    assert List.last(checks).found =~ ~r/protocol 1, pydantic-ai 2\.\d+/
  end

  test "a program that is not there is told, and nothing else is tried" do
    assert {:error, checks} = PythonEnv.check(command: ["no-such-program-anywhere"])
    assert statuses(checks) == [:failed, :skipped, :skipped, :skipped, :skipped]
    assert failed(checks).found =~ "no-such-program-anywhere"
    assert failed(checks).advice =~ "AXON_PORT_PYTHON"
  end

  test "a Python that is too old is told, with the one that is needed", %{tmp_dir: dir} do
    old = python(dir, "python3", "3.9.2")
    assert {:error, checks} = PythonEnv.check(command: [old, "-m", "axon_port"])
    assert statuses(checks) == [:ok, :failed, :skipped, :skipped, :skipped]
    assert failed(checks).found =~ "3.9.2"
    assert failed(checks).advice =~ "3.11"
  end

  test "a Python that is none is told", %{tmp_dir: dir} do
    broken = script(dir, "python3", "echo what >&2; exit 3\n")
    assert {:error, checks} = PythonEnv.check(command: [broken])
    assert %Check{name: :interpreter, found: found} = failed(checks)
    assert found =~ "exit status 3"
    assert found =~ "what"
  end

  test "a Python without axon-port is told how to get it", %{tmp_dir: dir} do
    bare = python(dir, "python3", "3.12.1", "echo 'No module named axon_port' >&2; exit 1")
    assert {:error, checks} = PythonEnv.check(command: [bare, "-m", "axon_port"])
    assert %Check{name: :package, found: found, advice: advice} = failed(checks)
    assert found =~ "No module named axon_port"
    assert advice =~ "#{bare} -m pip install"
  end

  test "a package that does not start is told with the last line that it wrote", %{tmp_dir: dir} do
    half =
      python(dir, "python3", "3.12.1", """
      case "$*" in
        *--version) echo axon-port 0.1.0 ;;
        *) printf 'Traceback:\\nNo module named orjson\\n' >&2; exit 1 ;;
      esac
      """)

    assert {:error, checks} = PythonEnv.check(command: [half, "-m", "axon_port"])
    assert %Check{name: :start, found: found} = failed(checks)
    assert found =~ "exit status 1"
    assert found =~ "No module named orjson"
    refute found =~ "Traceback"
  end

  test "options that the worker refuses are told in its own words" do
    assert {:error, checks} = PythonEnv.check(args: ["--max-inflight", "none"])
    assert %Check{name: :start, found: found} = failed(checks)
    assert found =~ "exit status 64"
    assert found =~ "--max-inflight"
  end

  test "a program that says hello and goes is no worker", %{tmp_dir: dir} do
    fake = script(dir, "fake", "echo axon-port 9.9.9\n")
    assert {:error, checks} = PythonEnv.check(command: [fake])
    assert %Check{name: :start, found: found} = failed(checks)
    assert found =~ "axon-port 9.9.9"
  end

  test "a program that never ends is killed", %{tmp_dir: dir} do
    note = Path.join(dir, "pid")
    stuck = script(dir, "stuck", "echo $$ > #{note}.new; mv #{note}.new #{note}; exec sleep 3600\n")
    assert {:error, checks} = PythonEnv.check(command: [stuck], check_timeout: 2_000)
    assert %Check{name: :package, found: "it did not end in time"} = failed(checks)

    os_pid = note |> File.read!() |> String.trim()
    refute File.exists?("/proc/#{os_pid}/cmdline")
  end

  describe "interpreter/1" do
    test "is the program itself, if it is a Python", %{tmp_dir: dir} do
      path = python(dir, "python3.12", "3.12.1")
      assert Program.interpreter(path) == path
    end

    test "is what a script names: by path, by env, or in the second line", %{tmp_dir: dir} do
      python = python(dir, "python3", "3.12.1")

      for head <- ["#!#{python}\n", "#! #{python} -I\n", "#!/bin/sh\n'''exec' \"#{python}\" \"$0\" \"$@\"\n"] do
        File.write!(Path.join(dir, "axon-port"), head)
        assert Program.interpreter(Path.join(dir, "axon-port")) == python
      end

      File.write!(Path.join(dir, "axon-port"), "#!/usr/bin/env python3\n")
      assert Program.interpreter(Path.join(dir, "axon-port")) == System.find_executable("python3")
    end

    test "is unknown of anything else", %{tmp_dir: dir} do
      assert Program.interpreter(script(dir, "worker", "exec something\n")) == nil
      File.write!(Path.join(dir, "binary"), <<127, "ELF", 255>>)
      assert Program.interpreter(Path.join(dir, "binary")) == nil
      assert Program.interpreter(dir) == nil
    end
  end

  test "a report has a line for each check, and one for what to do", %{tmp_dir: dir} do
    {:error, checks} = PythonEnv.check(command: [python(dir, "python3", "3.9.2")])

    assert [program, interpreter, advice, package, codec, start] =
             checks |> PythonEnv.format() |> String.split("\n")

    assert program =~ ~r/^ok +program +\//
    assert interpreter =~ ~r/^FAILED +interpreter +Python 3.9.2/
    assert advice =~ ~r/^ +-> .*3\.11/
    assert package =~ ~r/^skipped package$/
    assert codec =~ ~r/^skipped codec$/
    assert start =~ ~r/^skipped start$/
  end
end
