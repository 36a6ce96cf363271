defmodule AxonPort.PythonEnv.Program do
  @moduledoc """
  Runs a program to its end, and looks into scripts.

  `System.cmd/3` waits for ever and writes nothing to its program; here a program has input and a limit, and one that
  does not end in time is killed.
  """

  alias AxonPort.OSProcess

  # What a program that was killed may take to be gone.
  @kill_ms 5_000

  @doc """
  Runs a program with this input, which stays open, for at most `timeout` ms.

  Returns what it wrote, stdout and stderr together, and its exit status. Options: `:env` and `:cd` as in
  `AxonPort.Options`.
  """
  @spec run(Path.t(), [String.t()], iodata, timeout, keyword) ::
          {:ok, binary, non_neg_integer} | :timeout | {:error, String.t()}
  def run(program, arguments, input, timeout, options \\ []) do
    task = Task.async(fn -> own_and_run(program, arguments, input, timeout, options) end)
    Task.await(task, :infinity)
  end

  # In a process of its own, since a port's messages come to whoever opened it.
  defp own_and_run(program, arguments, input, timeout, options) do
    Process.flag(:trap_exit, true)
    port = Port.open({:spawn_executable, program}, settings(arguments, options))
    os_pid = Port.info(port)[:os_pid]
    # A program that has gone already has told why; its status comes.
    OSProcess.write(port, input)
    deadline = Process.send_after(self(), {port, :deadline}, timeout)
    outcome = collect(port, os_pid, [])
    Process.cancel_timer(deadline)
    outcome
  rescue
    # Port.open/2 tells by exceptions what execve and fork say.
    error in [ErlangError, ArgumentError] -> {:error, Exception.message(error)}
  end

  defp settings(arguments, options) do
    env = Enum.map(options[:env] || [], &variable/1)
    cd = if options[:cd], do: [cd: options[:cd]], else: []
    [:binary, :exit_status, :hide, :stderr_to_stdout, args: arguments, env: env] ++ cd
  end

  defp variable({name, nil}), do: {to_charlist(name), false}
  defp variable({name, value}), do: {to_charlist(name), to_charlist(value)}

  defp collect(port, os_pid, output) do
    receive do
      {^port, {:data, data}} -> collect(port, os_pid, [output, data])
      {^port, {:exit_status, status}} -> {:ok, IO.iodata_to_binary(output), status}
      {:EXIT, ^port, reason} -> {:error, inspect(reason)}
      {^port, :deadline} -> kill(port, os_pid)
    end
  end

  defp kill(port, os_pid) do
    OSProcess.kill(os_pid)

    receive do
      {^port, {:exit_status, _status}} -> :timeout
    after
      # A child of it holds the pipe open: that is not ours to wait for.
      @kill_ms -> :timeout
    end
  end

  @doc """
  The Python that runs a program: the program itself, or what its first lines name if it is a script.

  `nil` if it is neither.
  """
  @spec interpreter(Path.t()) :: Path.t() | nil
  def interpreter(program) do
    cond do
      python?(program) -> program
      script = head(program) -> named(script)
      true -> nil
    end
  end

  defp python?(path), do: path |> Path.basename() |> String.starts_with?("python")

  # The first line of a script, or the second: there pip puts a path that is too long for the first.
  defp named(script) do
    python = script |> String.split(~r/[\s"'!]+/) |> Enum.find(&python?/1)
    python && System.find_executable(python)
  end

  defp head(program) do
    with {:ok, "#!" <> _rest = head} <- File.open(program, [:read, :binary], &IO.binread(&1, 4096)),
         true <- String.valid?(head) do
      head |> String.split("\n") |> Enum.take(2) |> Enum.join("\n")
    else
      _no_script -> nil
    end
  end
end
