defmodule AxonPort.RealWorker do
  @moduledoc "Real workers for tests: started under the test, with scripted models, and looked after in /proc."

  import ExUnit.Assertions
  import ExUnit.Callbacks

  alias AxonPort.Pool

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

  @doc "Options for a worker that misbehaves, in one of the ways of `misbehaving.py`."
  def misbehaving(way, options \\ []) do
    python = System.get_env("AXON_PORT_PYTHON", "python3")

    Keyword.merge(
      [command: [python, "-S", Path.join(__DIR__, "misbehaving.py"), to_string(way)], grace: 1],
      options
    )
  end

  @doc "A supervisor of this test's own, with a name that is its own; `workers` of them are ready."
  def start_pool(options \\ []) do
    options = Keyword.merge([name: unique_name(), workers: 2, backoff: [base: 10, max: 100]], options)
    start_supervised!({AxonPort.Supervisor, options}, id: options[:name])
    await_ready(options[:name], options[:workers])
    options[:name]
  end

  @doc "Waits until so many workers of a pool are ready."
  def await_ready(pool, count) do
    eventually(fn -> length(Pool.workers(pool)) >= count end, "#{count} workers are not ready")
  end

  @doc "A worker of a pool and its process, once one is ready; it may be ill and die soon."
  def any_worker(pool) do
    eventually(fn -> Pool.workers(pool) != [] end, "no worker is ready")

    with [_ | _] = workers <- Pool.workers(pool),
         %{worker: worker} = Enum.random(workers),
         os_pid when os_pid != nil <- os_pid(worker) do
      {worker, os_pid}
    else
      _just_died -> any_worker(pool)
    end
  catch
    :exit, _just_died -> any_worker(pool)
  end

  @doc "Waits until a worker of a pool of one has another in its place."
  def assert_replaced(pool, worker) do
    eventually(
      fn -> match?([%{worker: other}] when other != worker, Pool.workers(pool)) end,
      "it was not replaced"
    )
  end

  @doc "A name for a pool."
  def unique_name, do: :"Elixir.Test.Pool#{System.unique_integer([:positive])}"

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
