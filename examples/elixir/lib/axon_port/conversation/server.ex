defmodule AxonPort.Conversation.Server do
  @moduledoc """
  The process of a conversation (`AxonPort.Conversation`): it takes the steps that `AxonPort.Conversation.Turn` tells.

  It waits for nothing but messages. Runs and `:resolve` functions are tasks, waits are timers; so it can be asked for
  its history, and told to cancel, at any time. With the conversation its tasks end, and with them their runs.
  """

  use GenServer

  alias AxonPort.{Agent, Backoff, Error, Run, Server, Stacktrace, Tool}
  alias AxonPort.Conversation.{Errand, Stored, Transcript, Turn}
  alias AxonPort.Tool.Runner

  # What was said is not for a report, and deps may hold keys.
  @shown [:server, :agent, :attempts, :backoff, :max_waiting, :max_rounds]

  @derive {Inspect, only: @shown}
  @enforce_keys [:server, :agent]
  defstruct [
    :server,
    :agent,
    :tasks,
    :save,
    :stored,
    :turn,
    :from,
    :doing,
    cancelling: [],
    options: %{},
    transcript: %Transcript{},
    waiting: :queue.new(),
    attempts: 3,
    backoff: [base: 200, max: 10_000],
    max_waiting: 100,
    max_rounds: 20
  ]

  @typedoc """
  `turn`, `from` (who waits for it), `doing` (what it waits for) and `cancelling` (who wants to know whether it was
  cancelled) are there while a turn is under way. `waiting` are the requests for those after it.
  """
  @type t :: %__MODULE__{
          server: AxonPort.server(),
          agent: Agent.t(),
          tasks: pid | nil,
          save: (String.t() -> term) | nil,
          stored: String.t() | (() -> String.t() | nil) | nil,
          turn: Turn.t() | nil,
          from: GenServer.from() | nil,
          doing:
            nil
            | {:run, Errand.t()}
            | {:wait, reference}
            | {:resolve, %{reference => {Task.t(), call_id :: String.t()}}},
          cancelling: [GenServer.from()],
          options: Stored.options(),
          transcript: Transcript.t(),
          waiting: :queue.queue({request :: term, GenServer.from()}),
          attempts: pos_integer,
          backoff: Backoff.t(),
          max_waiting: non_neg_integer,
          max_rounds: non_neg_integer
        }

  @given [:server, :agent, :options, :stored, :save, :attempts, :backoff, :max_waiting, :max_rounds]

  @doc "The state of a conversation with these options. Raises `ArgumentError` on what is none."
  @spec new(keyword) :: t
  def new(options) do
    for {key, value} <- options, not (key in @given and valid?(key, value)) do
      raise ArgumentError, "a conversation's #{inspect(key)} cannot be #{inspect(value)}"
    end

    for key <- [:server, :agent], not Keyword.has_key?(options, key) do
      raise ArgumentError, "a conversation has to have its #{inspect(key)}"
    end

    state = struct!(__MODULE__, options)
    options = Stored.merge(%{}, Stored.options!(state.options))
    state = %{state | agent: agent!(state.agent), backoff: Backoff.new(state.backoff), options: options}
    if is_binary(state.stored), do: restore(state, state.stored), else: state
  end

  # Found out now, and not by the first run.
  defp agent!(agent) do
    agent = Agent.new(agent)
    with {:error, error} <- Run.definition(agent), do: raise(ArgumentError, error.message)
    agent
  end

  defp valid?(:server, server), do: Server.server?(server)
  defp valid?(:save, save), do: is_function(save, 1)
  defp valid?(:stored, stored), do: is_nil(stored) or is_binary(stored) or is_function(stored, 0)
  defp valid?(:attempts, n), do: is_integer(n) and n > 0
  defp valid?(bound, n) when bound in [:max_waiting, :max_rounds], do: is_integer(n) and n >= 0
  defp valid?(_judged_elsewhere, _value), do: true

  defp restore(state, json) do
    {transcript, options} = Stored.decode!(json)
    %{state | transcript: transcript, options: options}
  end

  # A function is called in here, so that it is called anew when a supervisor starts the conversation again.
  @impl true
  def init(%__MODULE__{} = state) do
    state = Stacktrace.call(fn -> begun(state) end)
    {:ok, tasks} = Task.Supervisor.start_link()
    {:ok, %{state | tasks: tasks}}
  end

  defp begun(%{stored: stored} = state) when is_function(stored) do
    if json = stored.(), do: restore(state, json), else: state
  end

  defp begun(state), do: state

  if {:format_status, 1} in GenServer.behaviour_info(:callbacks), do: @impl(true)
  @doc false
  def format_status(status) do
    status
    |> Map.replace_lazy(:state, &Map.take(&1, @shown))
    |> Map.replace(:message, :not_shown)
    |> Map.replace(:log, [])
  end

  # What is asked of it

  @impl true
  def handle_call({:turn, request}, from, state) do
    if state.turn != nil and :queue.len(state.waiting) >= state.max_waiting do
      {:reply, {:error, Error.new(:overloaded, "too many turns wait for theirs")}, state}
    else
      {:noreply, next(%{state | waiting: :queue.in({request, from}, state.waiting)})}
    end
  end

  def handle_call(:rewind, _from, %{turn: nil} = state) do
    {:reply, :ok, keep(state, Transcript.rewind(state.transcript))}
  end

  def handle_call(:rewind, _from, state), do: {:reply, {:error, Error.new(:turn_under_way)}, state}

  def handle_call({:configure, options}, _from, state) do
    {:reply, :ok, keep(%{state | options: Stored.merge(state.options, options)}, state.transcript)}
  end

  def handle_call(:cancel, _from, %{turn: nil} = state), do: {:reply, false, state}

  def handle_call(:cancel, from, state) do
    {:noreply, cancel(state.doing, %{state | cancelling: [from | state.cancelling]})}
  end

  def handle_call(:open_calls, _from, state), do: {:reply, Transcript.unanswered(state.transcript), state}
  def handle_call(:history, _from, state), do: {:reply, Transcript.history(state.transcript), state}
  def handle_call(:usage, _from, state), do: {:reply, state.transcript.usage, state}
  def handle_call(:to_json, _from, state), do: {:reply, to_json(state, state.transcript), state}

  # What a turn waits for. A message about anything else is about a turn that is over.

  @impl true
  def handle_info({ref, outcome}, %{doing: {:run, %Errand{task: %Task{ref: ref}}}} = state) do
    Process.demonitor(ref, [:flush])
    {:noreply, take(Turn.ran(state.turn, outcome, limits(state)), state)}
  end

  # What goes wrong with a run is an outcome. This is a mistake of ours.
  def handle_info(
        {:DOWN, ref, :process, _pid, reason},
        %{doing: {:run, %Errand{task: %Task{ref: ref}}}} = state
      ) do
    {:stop, reason, state}
  end

  # It was cancelled where no worker had it.
  def handle_info({:no_outcome, run}, %{doing: {:run, %Errand{ref: run} = errand}} = state) do
    Runner.stop(errand.task)
    {:noreply, take(Turn.cancel(state.turn), state)}
  end

  def handle_info({:timeout, timer, :again}, %{doing: {:wait, timer}} = state) do
    {:noreply, take({:run, state.turn}, state)}
  end

  def handle_info({ref, outcome}, %{doing: {:resolve, tasks}} = state) when is_map_key(tasks, ref) do
    Process.demonitor(ref, [:flush])
    {:noreply, resolved(state, ref, outcome)}
  end

  # It has crashed, and the log says why: the call stays open.
  def handle_info({:DOWN, ref, :process, _pid, _reason}, %{doing: {:resolve, tasks}} = state)
      when is_map_key(tasks, ref) do
    {:noreply, resolved(state, ref, :later)}
  end

  def handle_info(_of_a_turn_that_is_over, state), do: {:noreply, state}

  # One turn after the other

  defp next(%{turn: nil} = state) do
    case :queue.out(state.waiting) do
      {{:value, {request, from}}, waiting} -> begin(request, from, %{state | waiting: waiting})
      {:empty, _waiting} -> state
    end
  end

  defp next(state), do: state

  defp begin(request, from, state) do
    case first_step(request, state.transcript) do
      {:error, error} ->
        GenServer.reply(from, {:error, error})
        next(state)

      step ->
        take(step, kept(request, step, %{state | from: from}))
    end
  end

  defp first_step({:ask, prompt, options}, transcript), do: Turn.ask(transcript, prompt, options)
  defp first_step({:resume, options}, transcript), do: Turn.resume(transcript, options)
  defp first_step({:answer, entries, options}, transcript), do: Turn.answer(transcript, entries, options)

  # Answers are somebody's work: they are kept before they are used.
  defp kept({:answer, _entries, _options}, {:run, turn}, state), do: keep(state, turn.transcript)
  defp kept(_request, _step, state), do: state

  # Steps

  defp take({:run, turn}, %{server: server, agent: agent} = state) do
    options = state.options |> Stored.merge(turn.options) |> Map.to_list()
    errand = Errand.start(state.tasks, server, agent, turn.prompt, Turn.inputs(turn) ++ options)
    %{state | turn: turn, doing: {:run, errand}}
  end

  defp take({:wait, ms, turn}, state) do
    %{state | turn: turn, doing: {:wait, :erlang.start_timer(ms, self(), :again)}}
  end

  defp take({:resolve, calls, turn}, state) do
    tasks =
      for call <- calls, task = ask_tool(call, turn, state), into: %{} do
        {task.ref, {task, call["call_id"]}}
      end

    state = %{state | turn: turn, doing: {:resolve, tasks}}
    if tasks == %{}, do: take(Turn.carry_on(turn), state), else: state
  end

  defp take({:over, outcome, transcript}, state) do
    state = keep(%{state | turn: nil, doing: nil}, transcript)
    GenServer.reply(state.from, outcome)
    for from <- state.cancelling, do: GenServer.reply(from, cancelled?(outcome))
    next(%{state | from: nil, cancelling: []})
  end

  defp cancelled?(outcome), do: match?({:error, %Error{reason: :cancelled}}, outcome)

  defp ask_tool(call, turn, state) do
    case Agent.tool(state.agent, call["name"]) do
      {:ok, %Tool{resolve: resolve} = tool} when resolve != nil ->
        deps = Map.get(turn.options, :deps) || state.options[:deps] || state.agent.deps
        context = %{agent: state.agent, call_id: call["call_id"], run_id: turn.result.run_id, deps: deps}
        Runner.resolve(state.tasks, tool, call, context)

      _nobody_to_ask ->
        nil
    end
  end

  defp resolved(%{doing: {:resolve, tasks}} = state, ref, outcome) do
    {{_task, call_id}, tasks} = Map.pop!(tasks, ref)

    turn =
      case outcome do
        {:resolved, entry} -> Turn.resolved(state.turn, call_id, entry)
        :later -> state.turn
      end

    state = %{state | turn: turn, doing: {:resolve, tasks}}
    if tasks == %{}, do: take(Turn.carry_on(turn), state), else: state
  end

  # A run that is cancelled ends with what had been said; what else a turn does, ends here.
  defp cancel({:run, errand}, state) do
    conversation = self()

    {:ok, _pid} =
      Task.Supervisor.start_child(state.tasks, fn ->
        if Errand.cancel(errand) == :nothing, do: send(conversation, {:no_outcome, errand.ref})
      end)

    %{state | turn: %{state.turn | cancelled: true}}
  end

  defp cancel({:wait, timer}, state) do
    :erlang.cancel_timer(timer)
    take(Turn.cancel(state.turn), state)
  end

  defp cancel({:resolve, tasks}, state) do
    for {_ref, {task, _call_id}} <- tasks, do: Runner.stop(task)
    take(Turn.cancel(state.turn), state)
  end

  defp keep(state, transcript) do
    if state.save, do: Stacktrace.call(fn -> state.save.(to_json(state, transcript)) end)
    %{state | transcript: transcript}
  end

  defp to_json(state, transcript), do: Stored.encode!(transcript, state.options)

  defp limits(state), do: Map.take(state, [:attempts, :backoff, :max_rounds])
end
