defmodule AxonPort.OSProcess do
  @moduledoc """
  The worker's operating system process, at the other end of a port.

  What is known about ports and built in here:

    * A port that is written to faster than its program reads suspends the writer, and with it the process that owns
      the port. These ports have no such limit (`busy_limits_port`); the owner asks `queued/1` and refuses instead.
    * A program that dies is announced by `{port, {:exit_status, status}}`; but if data was queued to it, by
      `{:EXIT, port, :epipe}` alone. The owner traps exits and takes whichever comes first.
    * Closing a port kills nothing: a program that does not read its input lives on. `kill/1` ends it.
  """

  alias AxonPort.{Error, Options}

  @type os_pid :: pos_integer

  @doc "Starts a worker. The calling process owns the port and must trap exits."
  @spec open(Options.t()) :: {:ok, port, os_pid | nil} | {:error, Error.t()}
  def open(%Options{} = options) do
    with {:ok, program, arguments} <- Options.command_line(options) do
      port = Port.open({:spawn_executable, program}, settings(options, arguments))
      {:ok, port, os_pid(port)}
    end
  rescue
    # Port.open/2 tells by exceptions what execve and fork say.
    error in [ErlangError, ArgumentError] ->
      {:error, Error.new(:worker_not_started, Exception.message(error))}
  end

  defp settings(options, arguments) do
    [
      :binary,
      :exit_status,
      :hide,
      packet: 4,
      args: arguments,
      env: options |> Options.env() |> Enum.map(&variable/1),
      busy_limits_port: :disabled,
      busy_limits_msgq: :disabled
    ] ++
      if(options.cd, do: [cd: options.cd], else: []) ++
      if(options.stderr == :log, do: [:stderr_to_stdout], else: [])
  end

  defp variable({name, nil}), do: {String.to_charlist(name), false}
  defp variable({name, value}), do: {String.to_charlist(name), String.to_charlist(value)}

  # A program that has already gone has no number any more.
  defp os_pid(port) do
    case Port.info(port, :os_pid) do
      {:os_pid, os_pid} -> os_pid
      nil -> nil
    end
  end

  @doc "Writes a frame, without waiting. False where the port has been closed."
  @spec write(port, iodata) :: boolean
  def write(port, frame) do
    Port.command(port, frame)
  rescue
    ArgumentError -> false
  end

  @doc "How many bytes wait to be read by the program."
  @spec queued(port) :: non_neg_integer
  def queued(port) do
    case Port.info(port, :queue_size) do
      {:queue_size, bytes} -> bytes
      nil -> 0
    end
  end

  @doc "Closes the port, if it is open: the program's input ends."
  @spec close(port) :: :ok
  def close(port) do
    Port.close(port)
    :ok
  rescue
    ArgumentError -> :ok
  end

  @doc "Ends a process by force. One that is not there any more is none of our business."
  @spec kill(os_pid | nil) :: :ok
  def kill(nil), do: :ok

  def kill(os_pid) do
    # The shell's own kill: a small system has no other.
    script = "kill -KILL #{os_pid} 2>/dev/null || true"
    {"", 0} = System.cmd("sh", ["-c", script])
    :ok
  end
end
