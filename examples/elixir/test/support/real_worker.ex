defmodule AxonPort.RealWorker do
  @moduledoc "Real workers for tests: started under the test, with scripted models, and looked after in /proc."

  import ExUnit.Assertions
  import ExUnit.Callbacks

  # Waits are for events; this is how long a busy machine may take.
  @patience 60_000

  @doc "How long a test waits before it gives up."
  def patience, do: @patience

  @doc "A worker of this test's own, ready."
  def start_worker(options \\ []) do
    worker =
      start_supervised!(Map.put(AxonPort.Worker.child_spec(options), :restart, :temporary), id: make_ref())

    {:ok, _info} = AxonPort.Worker.await_ready(worker, @patience)
    worker
  end

  @doc "An agent that plays a script."
  def scripted(id, turns, fields \\ []), do: AxonPort.Agent.new([id: id, model: {:script, turns}] ++ fields)

  @doc "The process number of a worker."
  def os_pid(worker), do: AxonPort.Worker.info(worker).os_pid

  @doc "Whether a process runs. One that has ended and was not waited for does not."
  def running?(os_pid) do
    case File.read("/proc/#{os_pid}/stat") do
      {:ok, stat} ->
        not Regex.match?(~r"[)] [ZX] ", stat)

      {:error, _gone} ->
        false
    end
  end

  @doc "Waits until a process has gone."
  def assert_gone(os_pid), do: eventually(fn -> not running?(os_pid) end, "process #{os_pid} is still there")

  @doc "Waits until something outside of this node is so: there is nobody who would send a message."
  def eventually(fun, what, deadline \\ System.monotonic_time(:millisecond) + @patience) do
    cond do
      fun.() ->
        :ok

      System.monotonic_time(:millisecond) > deadline ->
        flunk(what)

      true ->
        receive after: (10 -> eventually(fun, what, deadline))
    end
  end

  @doc "Sends a signal."
  def signal(os_pid, name), do: {_, 0} = System.cmd("sh", ["-c", "kill -#{name} #{os_pid}"])
end
