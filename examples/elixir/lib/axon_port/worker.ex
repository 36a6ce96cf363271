defmodule AxonPort.Worker do
  @moduledoc """
  The process that owns one worker's port.

  It carries out what `AxonPort.Session` decides: writes frames, answers callers, runs tools as tasks, watches those who
  wait. It lives as long as the operating system process does: when one goes, the other does too, and whoever waits is
  told so once.

  ## How it ends

  | what happens | callers get | exit reason |
  | --- | --- | --- |
  | its supervisor stops it | their answers, within `:grace`; then `:cancelled` | as given |
  | the worker dies, closes its pipe, or says goodbye | `:worker_exited` | `{:shutdown, {:worker_exited, status}}` |
  | the worker is not ready in `:ready_timeout` | `:not_ready` | `{:shutdown, :not_ready}` |
  | what it says is no protocol | `:protocol_violation` | `{:shutdown, :protocol_violation}` |
  | this process is killed | `:worker_exited` | `:killed`; its tools go with it (`AxonPort.Worker.Witness`) |

  In each case the operating system process is gone afterwards, by force if need be; if this process was killed, the
  worker finds its pipe closed and goes by itself.

  Usually workers are started by `AxonPort.Supervisor`, which restarts them with backoff. Alone it is a child like any
  other:

      children = [{AxonPort.Worker, name: MyApp.Worker, env: [{"OPENAI_API_KEY", key}]}]
  """

  use GenServer

  alias AxonPort.{Error, OSProcess, Options, Request, Session}
  alias AxonPort.Worker.{Calls, Client, Log, Report, Witness}

  require Logger

  # After the grace of a shutdown the worker itself needs up to 3 s to end what blocks it (LIFE-WATCHDOG).
  @drain_margin 4_000

  # What a worker that said goodbye may take to go.
  @goodbye_ms 5_000

  @enforce_keys [:options, :port, :session, :task_supervisor, :witness, :calls]
  defstruct [
    :options,
    :port,
    :os_pid,
    :session,
    :task_supervisor,
    :witness,
    :calls,
    :info,
    :ready_timer,
    :started,
    :fault,
    waiting: []
  ]

  @typedoc "A pid or the name of a worker."
  @type server :: GenServer.server()

  @doc "Starts a worker. Options: `AxonPort.Options`."
  @spec start_link(keyword | Options.t()) :: GenServer.on_start()
  def start_link(options) do
    options = Options.new(options)
    GenServer.start_link(__MODULE__, options, if(options.name, do: [name: options.name], else: []))
  end

  @doc false
  def child_spec(options) do
    options = Options.new(options)

    %{
      id: options.name || __MODULE__,
      start: {__MODULE__, :start_link, [options]},
      shutdown: shutdown_ms(options)
    }
  end

  @doc "How long a worker may take to stop, in milliseconds."
  @spec shutdown_ms(Options.t()) :: pos_integer
  def shutdown_ms(%Options{grace: grace}), do: grace + @drain_margin + 1_000

  @doc """
  Sends a request and waits for its outcome.

  The owner's timer bounds the wait; a worker that dies, on whatever node, is `:worker_exited`.
  """
  @spec call(server, Request.t()) :: {:ok, term} | {:error, Error.t()}
  defdelegate call(worker, request), to: Client

  @typedoc "A request that is open: at which worker, with which id, and what its messages are known by."
  @type opened :: %{worker: server, id: pos_integer, ref: reference}

  @doc """
  Sends a request whose outcome comes as messages `{:axon_port, ref, _}`.

  They go to the process `sink`, and `ref` is the request's; or, with `:alias`, to the caller. Then `ref` is a monitor
  of the worker and an alias for its messages: after `Process.demonitor/2` none comes any more.
  """
  @spec open(server, Request.t(), pid | :alias) :: {:ok, opened} | {:error, Error.t()}
  defdelegate open(worker, request, sink), to: Client

  @doc "Gives a stream more credit."
  @spec credit(server, pos_integer, pos_integer) :: :ok
  def credit(worker, id, n), do: GenServer.cast(worker, {:credit, id, n})

  @doc "Nobody wants the rest of this run, known by id or reference: it is cancelled, and nothing more is said about it."
  @spec leave(server, pos_integer | reference) :: :ok
  def leave(worker, run), do: GenServer.cast(worker, {:leave, run})

  @doc "The id here of the run that is known by this reference, if there is one that somebody waits for."
  @spec find(server, reference) :: {:ok, pos_integer} | :none
  def find(worker, ref) do
    GenServer.call(worker, {:find, ref}, :infinity)
  catch
    :exit, _gone -> :none
  end

  @doc "What the worker said of itself when it became ready (the `ready` frame)."
  @spec await_ready(server, timeout) :: {:ok, map} | {:error, Error.t()}
  def await_ready(worker, timeout \\ 60_000) do
    GenServer.call(worker, :await_ready, timeout)
  catch
    :exit, {:timeout, _call} -> {:error, Error.new(:not_ready)}
    :exit, {reason, _call} -> {:error, Error.new(:worker_exited, %{reason: reason})}
  end

  @doc """
  Sets the counter of load to none if nothing is under way: whoever was counted, and died before he could ask, is counted
  no more. A caller who is on his way at that very moment is missed, until the next time.
  """
  @spec recount(server) :: :ok
  def recount(worker), do: GenServer.cast(worker, :recount)

  @doc "What this process sees: the worker's `os_pid`, runs under way, open tool calls, queued bytes."
  @spec info(server) :: map
  def info(worker), do: GenServer.call(worker, :info, :infinity)

  # The process

  @impl true
  def init(options) do
    Process.flag(:trap_exit, true)

    with {:ok, task_supervisor} <- task_supervisor(options),
         {:ok, port, os_pid} <- OSProcess.open(options) do
      witness = Witness.start()
      tell_guard(options, {:axon_port_started, self(), os_pid})

      {:ok,
       %__MODULE__{
         options: options,
         port: port,
         os_pid: os_pid,
         session: Session.new(max_frame_bytes: options.max_frame_bytes),
         task_supervisor: task_supervisor,
         ready_timer: Process.send_after(self(), :not_ready, options.ready_timeout),
         started: Report.worker_started(witness, os_pid),
         witness: witness,
         calls: Calls.new(witness)
       }}
    else
      {:error, error} -> {:stop, error}
    end
  end

  defp task_supervisor(%Options{task_supervisor: nil}), do: Task.Supervisor.start_link()
  defp task_supervisor(%Options{task_supervisor: supervisor}), do: {:ok, supervisor}

  defp tell_guard(%Options{guard: nil}, _message), do: :ok
  defp tell_guard(%Options{guard: guard}, message), do: send(guard, message)

  @impl true
  def handle_call({:request, request}, from, state) do
    {:noreply, take(state, %{request | sink: {:call, from}})}
  end

  def handle_call({:open, request, sink}, _from, state) do
    {:reply, {:ok, state.session.next_id}, take(state, %{request | sink: {:send, sink, request.ref}})}
  end

  def handle_call({:find, ref}, _from, state) do
    case Session.find(state.session, ref) do
      {:ok, id} -> {:reply, {:ok, id}, state}
      :error -> {:reply, :none, state}
    end
  end

  def handle_call(:await_ready, from, %{info: nil} = state),
    do: {:noreply, %{state | waiting: [from | state.waiting]}}

  def handle_call(:await_ready, _from, state), do: {:reply, {:ok, state.info}, state}

  def handle_call(:info, _from, state), do: {:reply, summary(state), state}

  defp summary(state) do
    %{
      os_pid: state.os_pid,
      state: state.session.state,
      inflight: Session.inflight(state.session),
      calls: Calls.count(state.calls),
      queued_bytes: OSProcess.queued(state.port)
    }
  end

  # Requests and frames hold what people say, the options hold keys: neither is for a crash report.
  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(true)
  @doc false
  def format_status(status) do
    status
    |> Map.replace_lazy(:state, &summary/1)
    |> Map.replace(:message, :not_shown)
    |> Map.replace(:log, [])
  end

  @impl true
  def handle_cast({:credit, id, n}, state) do
    {:noreply, step(state, {state.session, Session.credit(state.session, id, n)})}
  end

  def handle_cast({:leave, ref}, state) when is_reference(ref) do
    case Session.find(state.session, ref) do
      {:ok, id} -> handle_cast({:leave, id}, state)
      :error -> {:noreply, state}
    end
  end

  def handle_cast({:leave, id}, state) do
    {:noreply, step(state, Session.abandon(state.session, id, Error.new(:abandoned)))}
  end

  def handle_cast(:recount, state) do
    if state.options.load && Session.inflight(state.session) == 0, do: :atomics.put(state.options.load, 1, 0)
    {:noreply, state}
  end

  @impl true
  def handle_info({port, {:data, payload}}, %{port: port} = state) do
    state = step(state, Session.receive_frame(state.session, payload))
    if state.fault, do: fail(state, state.fault), else: {:noreply, state}
  end

  def handle_info({port, {:exit_status, status}}, %{port: port} = state) do
    ended(%{state | os_pid: nil}, status, %{exit_status: status})
  end

  # Data was queued to a worker that died: there will be no status.
  def handle_info({:EXIT, port, reason}, %{port: port} = state) do
    ended(state, reason, %{exit_status: nil, reason: reason})
  end

  def handle_info({:EXIT, supervisor, reason}, %{task_supervisor: supervisor} = state) do
    {:stop, reason, state}
  end

  # Of a task or a port that somebody's telemetry handler has used. That of our own parent ends us without this, and a
  # drain it does not end.
  def handle_info({:EXIT, _linked, _reason}, state), do: {:noreply, state}

  def handle_info({{:owner_down, id}, _monitor, :process, _pid, _reason}, state) do
    {:noreply, step(state, Session.abandon(state.session, id, Error.new(:abandoned)))}
  end

  def handle_info({:deadline, id}, state) do
    {:noreply, step(state, Session.abandon(state.session, id, Error.new(:owner_timeout)))}
  end

  def handle_info({ref, outcome}, state) when is_reference(ref) do
    Process.demonitor(ref, [:flush])
    {:noreply, call_ended(state, ref, outcome)}
  end

  def handle_info({:DOWN, ref, :process, _pid, reason}, state) do
    {:noreply, call_ended(state, ref, {:exit, reason})}
  end

  def handle_info(:not_ready, state), do: fail(state, Error.new(:not_ready))
  def handle_info(:still_there, state), do: ended(state, :goodbye, %{exit_status: nil, reason: :goodbye})
  def handle_info(_stray, state), do: {:noreply, state}

  defp ended(state, status, details) do
    state = step(state, Session.close(state.session, Error.new(:worker_exited, details)))
    {:stop, {:shutdown, {:worker_exited, status}}, state}
  end

  defp fail(state, error) do
    {:stop, {:shutdown, error.reason}, step(state, Session.close(state.session, error))}
  end

  @impl true
  def terminate(reason, state) do
    state = if drains?(reason, state), do: drain(state), else: state
    state = step(state, Session.close(state.session, Error.new(:worker_exited, %{reason: reason})))
    OSProcess.close(state.port)
    OSProcess.kill(state.os_pid)
    Report.worker_ended(state.witness, state.started, reason)
  end

  defp drains?(reason, %{session: %{state: state}}) do
    state != :closed and (reason in [:normal, :shutdown] or match?({:shutdown, _}, reason))
  end

  # The worker ends the runs under way and goes; until then everything is as ever, but that no run is taken.
  defp drain(state) do
    Process.send_after(self(), :drained, state.options.grace + @drain_margin)
    state |> step(Session.drain(state.session, state.options.grace)) |> drain_on()
  end

  defp drain_on(state) do
    receive do
      :drained -> state
      {:"$gen_call", from, call} -> call |> handle_call(from, state) |> drained_by(from)
      {:"$gen_cast", cast} -> cast |> handle_cast(state) |> drained_by(nil)
      message -> message |> handle_info(state) |> drained_by(nil)
    end
  end

  defp drained_by({:noreply, state}, _from), do: drain_on(state)
  defp drained_by({:stop, _reason, state}, _from), do: state

  defp drained_by({:reply, answer, state}, from) do
    GenServer.reply(from, answer)
    drain_on(state)
  end

  # Requests

  defp take(state, request) do
    {id, session} = Session.reserve(state.session)
    state = %{state | session: session}
    request = %{request | id: id}
    request = watch(%{request | started_at: Report.run_started(state.witness, request)})

    # Pings and the like are small, and somebody has to be able to ask how it is.
    if Request.run?(request) and OSProcess.queued(state.port) > state.options.max_queued_bytes do
      error = Error.new(:overloaded, "the worker does not read what is sent to it")
      step(state, Session.refuse(session, request, error))
    else
      step(state, Session.open(session, request))
    end
  end

  # The owner's death and the deadline carry the id: no other table has to know whose they are.
  defp watch(%Request{id: id, owner: owner, timeout: timeout, margin: margin} = request) do
    monitor = :erlang.monitor(:process, owner, tag: {:owner_down, id})
    timer = if timeout != :infinity, do: Process.send_after(self(), {:deadline, id}, timeout + margin)
    %{request | watch: {monitor, timer}}
  end

  defp unwatch(%Request{watch: nil}), do: :ok

  defp unwatch(%Request{watch: {monitor, timer}}) do
    Process.demonitor(monitor, [:flush])
    if timer, do: Process.cancel_timer(timer)
    :ok
  end

  # Effects

  defp step(state, {session, effects}), do: Enum.reduce(effects, %{state | session: session}, &act/2)

  defp act({:send, frame}, state) do
    # A port that is closed has told us so, or is about to.
    OSProcess.write(state.port, frame)
    state
  end

  defp act({:released, request}, state) do
    if request.counted, do: :atomics.sub(state.options.load, 1, 1)
    state
  end

  defp act({:settled, request, outcome}, state) do
    unwatch(request)
    reply(request.sink, outcome)
    Report.run_ended(state.witness, request, outcome)
    state
  end

  defp act({:chunk, %Request{sink: sink}, chunk}, state) do
    reply(sink, {:chunk, chunk})
    state
  end

  defp act({:call, request, frame}, state), do: start_call(state, request, frame)

  defp act({:drop_call, call_id}, state), do: %{state | calls: Calls.drop(state.calls, call_id)}

  defp act({:log, frame, request}, state) do
    Log.forward(frame, request, worker: self(), os_pid: state.os_pid)
    state
  end

  defp act({:note, level, text}, state) do
    Logger.log(level, text, domain: [:axon_port], worker: self(), os_pid: state.os_pid)
    state
  end

  defp act({:ready, info}, state) do
    Process.cancel_timer(state.ready_timer)
    for from <- state.waiting, do: GenServer.reply(from, {:ok, info})
    tell_guard(state.options, {:axon_port_ready, self(), info})
    %{state | info: info, waiting: []}
  end

  defp act({:goodbye, _reason}, state) do
    Process.send_after(self(), :still_there, @goodbye_ms)
    state
  end

  defp act({:fault, error}, state), do: %{state | fault: error}

  defp reply(:none, _outcome), do: :ok
  defp reply({:call, from}, outcome), do: GenServer.reply(from, outcome)
  defp reply({:send, sink, ref}, {:ok, result}), do: send(sink, {:axon_port, ref, {:result, result}})
  defp reply({:send, sink, ref}, other), do: send(sink, {:axon_port, ref, other})

  # Calls of tools

  defp start_call(state, request, frame) do
    case Calls.start(state.calls, state.task_supervisor, request, frame) do
      {:ok, calls} -> %{state | calls: calls}
      {:refused, answer} -> answer_call(state, request.id, frame["call_id"], answer)
    end
  end

  defp call_ended(state, task_ref, outcome) do
    case Calls.ended(state.calls, task_ref, outcome) do
      {:ok, entry, answer, calls} -> answer_call(%{state | calls: calls}, entry.id, entry.call_id, answer)
      :error -> state
    end
  end

  defp answer_call(state, id, call_id, answer) do
    step(state, Session.answer(state.session, id, call_id, answer))
  end
end
