defmodule AxonPort.Guard do
  @moduledoc """
  Keeps one worker of a pool alive and well.

  | what happens | what the guard does |
  | --- | --- |
  | the worker is ready | lets it join the pool |
  | it dies, or cannot be started | starts another one, after a wait (`AxonPort.Backoff`) |
  | it has been ready for `:stable` ms | forgets earlier failures |
  | a ping is not answered, or tells of a loop that is late | ends it by force |
  | the pool is stopped | takes it out of the pool, lets it drain |

  A guard does not crash with its worker: a worker that cannot start must not use up the restarts of everybody's
  supervisor.
  """

  use GenServer

  alias AxonPort.{Backoff, Command, OSProcess, Options, Pool, Request, Worker}

  require Logger

  defmodule Health do
    @moduledoc """
    When a worker counts as ill.

      * `:interval` - ms between two pings
      * `:timeout` - ms that a ping may take. It is answered beside everything else, so this is about a process that is
        stopped or held by a C call
      * `:max_lag` - ms that the worker's event loop may be late: beyond it somebody's code blocks all its runs
    """

    import AxonPort.Milliseconds, only: [is_milliseconds: 1]

    defstruct interval: 10_000, timeout: 10_000, max_lag: 30_000

    @type t :: %__MODULE__{interval: pos_integer, timeout: pos_integer, max_lag: pos_integer}

    @doc "Raises `ArgumentError` for what are no milliseconds."
    @spec new(keyword | t) :: t
    def new(%__MODULE__{} = health), do: health

    def new(options) do
      for {key, value} <- options do
        (key in [:interval, :timeout, :max_lag] and is_milliseconds(value)) ||
          raise ArgumentError, "health cannot have #{inspect(key)} #{inspect(value)}"
      end

      struct!(__MODULE__, options)
    end
  end

  # A worker's process that does not notice within this time that its worker was killed is killed too.
  @unresponsive_ms 2_000

  @enforce_keys [:pool, :options, :backoff, :health, :stable]
  defstruct [
    :pool,
    :options,
    :backoff,
    :health,
    :stable,
    :worker,
    :os_pid,
    :ping,
    failures: 0
  ]

  @doc """
  Starts a guard, and its worker.

    * `:pool` - the name of the pool, required
    * `:worker` - `AxonPort.Options`
    * `:backoff` - `AxonPort.Backoff`
    * `:health` - `AxonPort.Guard.Health`
    * `:stable` - default 10000
  """
  @spec start_link(keyword) :: GenServer.on_start()
  def start_link(settings), do: GenServer.start_link(__MODULE__, settings)

  @doc false
  def child_spec(settings) do
    options = Options.new(settings[:worker])

    %{
      id: __MODULE__,
      start: {__MODULE__, :start_link, [settings]},
      shutdown: Worker.shutdown_ms(options) + 1_000
    }
  end

  @impl true
  def init(settings) do
    Process.flag(:trap_exit, true)

    state = %__MODULE__{
      pool: Keyword.fetch!(settings, :pool),
      options: Options.new(settings[:worker] || []),
      backoff: Backoff.new(settings[:backoff] || []),
      health: Health.new(settings[:health] || []),
      stable: settings[:stable] || 10_000
    }

    {:ok, state, {:continue, :start}}
  end

  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(true)
  @doc false
  def format_status(status) do
    Map.replace_lazy(status, :state, &Map.take(&1, [:pool, :worker, :os_pid, :health, :stable, :failures]))
  end

  @impl true
  def handle_continue(:start, state), do: {:noreply, start(state)}

  defp start(state) do
    load = :atomics.new(1, [])

    case Worker.start_link(%{state.options | guard: self(), load: load}) do
      {:ok, worker} -> %{state | worker: {worker, load}}
      {:error, reason} -> again(state, reason)
    end
  end

  @impl true
  def handle_info({:axon_port_started, worker, os_pid}, %{worker: {worker, _load}} = state) do
    {:noreply, %{state | os_pid: os_pid}}
  end

  def handle_info({:axon_port_ready, worker, info}, %{worker: {worker, load}} = state) do
    :ok = Pool.join(state.pool, worker, load, info["limits"]["max_inflight"])
    Process.send_after(self(), {:stable, worker}, state.stable)
    {:noreply, check_later(state)}
  end

  def handle_info({:EXIT, worker, reason}, %{worker: {worker, _load}} = state) do
    # Whoever kills the owner leaves its worker behind, which may be deaf.
    if not match?({:shutdown, {:worker_exited, _status}}, reason), do: OSProcess.kill(state.os_pid)
    {:noreply, again(%{state | worker: nil, os_pid: nil, ping: nil}, reason)}
  end

  # One that could not be started has told us already.
  def handle_info({:EXIT, _pid, _reason}, state), do: {:noreply, state}

  def handle_info(:start, state), do: {:noreply, start(state)}

  def handle_info({:stable, worker}, %{worker: {worker, _load}} = state),
    do: {:noreply, %{state | failures: 0}}

  def handle_info({:check, worker}, %{worker: {worker, _load}} = state), do: {:noreply, check(state)}

  def handle_info({:unanswered, ping}, %{ping: ping} = state) when ping != nil do
    {:noreply, give_up(state, "did not answer a ping in #{state.health.timeout} ms")}
  end

  def handle_info({:unresponsive, worker}, %{worker: {worker, _load}} = state) do
    Process.exit(worker, :kill)
    {:noreply, state}
  end

  def handle_info(message, %{ping: ping} = state) when ping != nil do
    case :gen_server.check_response(message, ping) do
      {:reply, {:ok, pong}} -> {:noreply, judge(%{state | ping: nil}, pong)}
      {:reply, {:error, _error}} -> {:noreply, check_later(%{state | ping: nil})}
      # It has died; its exit says why.
      {:error, {_reason, _worker}} -> {:noreply, %{state | ping: nil}}
      :no_reply -> {:noreply, state}
    end
  end

  # Of a worker that is no more.
  def handle_info(_late, state), do: {:noreply, state}

  defp again(state, reason) do
    failures = state.failures + 1
    delay = Backoff.delay(state.backoff, failures)
    Process.send_after(self(), :start, delay)

    Logger.warning(
      "a worker of #{inspect(state.pool)} is gone (#{inspect(reason)}), another one starts in #{delay} ms"
    )

    %{state | failures: failures}
  end

  # Asked without waiting: a worker's process that hangs must not hang its guard.
  defp check(%{worker: {worker, _load}} = state) do
    request = Request.new(:command, Command.new!("ping"), owner: self())
    ping = :gen_server.send_request(worker, {:request, request})
    Process.send_after(self(), {:unanswered, ping}, state.health.timeout)
    %{state | ping: ping}
  end

  defp judge(%{health: %{max_lag: max_lag}} = state, %{"loop_lag_ms" => lag}) when lag > max_lag do
    give_up(state, "has an event loop that is #{lag} ms late")
  end

  defp judge(%{worker: {worker, _load}} = state, _pong) do
    Worker.recount(worker)
    check_later(state)
  end

  defp check_later(%{worker: {worker, _load}} = state) do
    Process.send_after(self(), {:check, worker}, state.health.interval)
    state
  end

  defp check_later(%{worker: nil} = state), do: state

  defp give_up(%{worker: {worker, _load}} = state, why) do
    Logger.error("worker #{state.os_pid} of #{inspect(state.pool)} #{why}: it is killed")
    OSProcess.kill(state.os_pid)
    Process.send_after(self(), {:unresponsive, worker}, @unresponsive_ms)
    %{state | ping: nil}
  end

  @impl true
  def terminate(_reason, %{worker: nil}), do: :ok

  def terminate(_reason, %{worker: {worker, _load}} = state) do
    leave(state.pool, worker)
    stop(worker, state)
  end

  defp leave(pool, worker) do
    Pool.leave(pool, worker)
  catch
    # The pool has crashed, and takes us with it.
    :exit, _reason -> :ok
  end

  defp stop(worker, state) do
    GenServer.stop(worker, :shutdown, Worker.shutdown_ms(state.options))
  catch
    :exit, _reason ->
      Process.exit(worker, :kill)
      OSProcess.kill(state.os_pid)
  end
end
