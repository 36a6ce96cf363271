defmodule AxonPort.Conversation.Server do
  @moduledoc """
  The process of a conversation (`AxonPort.Conversation`).

  It waits for nothing but messages: runs are in the background, `:resolve` functions are tasks, waits are timers. So it
  can be asked for its history, and told to cancel, at any time.
  """

  use GenServer

  alias AxonPort.{Agent, Error, Result, Tool}
  alias AxonPort.Conversation.{Stored, Transcript, Turn}
  alias AxonPort.Tool.Runner

  @enforce_keys [:server, :agent]
  defstruct [
    :server,
    :agent,
    :tasks,
    :turn,
    :save,
    :stored,
    options: %{},
    transcript: %Transcript{},
    waiting: :queue.new(),
    attempts: 3,
    backoff: {200, 10_000},
    max_waiting: 100,
    max_rounds: 20
  ]

  @type t :: %__MODULE__{
          server: AxonPort.server(),
          agent: Agent.t(),
          tasks: pid | nil,
          turn: Turn.t() | nil,
          save: (String.t() -> term) | nil,
          stored: String.t() | (() -> String.t() | nil) | nil,
          options: Stored.options(),
          transcript: Transcript.t(),
          waiting: :queue.queue({term, GenServer.from()}),
          attempts: pos_integer,
          backoff: {pos_integer, pos_integer},
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

    struct!(__MODULE__, options)
    |> Map.update!(:agent, &Agent.new/1)
    |> Map.update!(:options, &Stored.options!/1)
    |> then(&if is_function(&1.stored), do: &1, else: restore(&1, &1.stored))
  end

  defp valid?(:save, save), do: is_function(save, 1)
  defp valid?(:stored, stored), do: is_nil(stored) or is_binary(stored) or is_function(stored, 0)
  defp valid?(:attempts, n), do: is_integer(n) and n > 0
  defp valid?(:backoff, {base, max}), do: is_integer(base) and is_integer(max) and base > 0 and max >= base
  defp valid?(:backoff, _other), do: false
  defp valid?(bound, n) when bound in [:max_waiting, :max_rounds], do: is_integer(n) and n >= 0
  defp valid?(_free, _value), do: true

  @impl true
  def init(%__MODULE__{} = state) do
    # A function is called in here, so that it is called anew when a supervisor starts the conversation again.
    state = if is_function(state.stored), do: restore(state, state.stored.()), else: state
    {:ok, tasks} = Task.Supervisor.start_link()
    {:ok, %{state | tasks: tasks}}
  end

  defp restore(state, nil), do: state

  defp restore(state, json) do
    {transcript, options} = Stored.decode!(json)
    %{state | transcript: transcript, options: options}
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
    options = state.options |> Map.merge(options) |> Map.reject(fn {_key, value} -> value == nil end)
    {:reply, :ok, keep(%{state | options: options}, state.transcript)}
  end

  def handle_call(:cancel, _from, %{turn: nil} = state), do: {:reply, false, state}
  def handle_call(:cancel, _from, state), do: {:reply, true, cancel(state.turn.doing, state)}
  def handle_call(:open_calls, _from, state), do: {:reply, Transcript.unanswered(state.transcript), state}
  def handle_call(:history, _from, state), do: {:reply, Transcript.history(state.transcript), state}
  def handle_call(:usage, _from, state), do: {:reply, state.transcript.usage, state}

  def handle_call(:to_json, _from, state),
    do: {:reply, Stored.encode!(state.transcript, state.options), state}

  # What a turn waits for. A message about something else is about a turn that is over.

  @impl true
  def handle_info({:axon_port, ref, outcome}, %{turn: %Turn{doing: {:run, ref}}} = state) do
    {:noreply, ran(outcome, state)}
  end

  def handle_info({:timeout, timer, :again}, %{turn: %Turn{doing: {:wait, timer}}} = state) do
    {:noreply, run(state)}
  end

  def handle_info({ref, outcome}, %{turn: %Turn{doing: {:resolve, tasks}}} = state)
      when is_map_key(tasks, ref) do
    Process.demonitor(ref, [:flush])
    {:noreply, resolved(state, ref, outcome)}
  end

  # It has crashed, and the log says why: the call stays open.
  def handle_info({:DOWN, ref, :process, _pid, _reason}, %{turn: %Turn{doing: {:resolve, tasks}}} = state)
      when is_map_key(tasks, ref) do
    {:noreply, resolved(state, ref, :later)}
  end

  def handle_info(_of_a_turn_that_is_over, state), do: {:noreply, state}

  # The beginning of a turn

  defp next(%{turn: nil} = state) do
    case :queue.out(state.waiting) do
      {{:value, {request, from}}, waiting} -> begin(request, from, %{state | waiting: waiting})
      {:empty, _waiting} -> state
    end
  end

  defp next(state), do: state

  defp begin({:ask, prompt, options}, from, %{transcript: transcript} = state) do
    turn = %Turn{from: from, prompt: prompt, options: options, transcript: transcript}

    cond do
      Transcript.unanswered(transcript) != [] -> refuse(state, from, Error.new(:calls_open))
      prompt == nil -> run(%{state | turn: turn})
      transcript.open != [] -> refuse(state, from, Error.new(:calls_open, "all have one: resume the turn"))
      true -> run(%{state | turn: %{turn | transcript: Transcript.begin_turn(transcript)}})
    end
  end

  defp begin({:answer, entries, options}, from, state) do
    case Transcript.answer(state.transcript, entries) do
      {:ok, transcript} ->
        result = %Result{agent_id: state.agent.id, status: :deferred}
        turn = %Turn{from: from, options: options, transcript: transcript, result: result}
        carry_on(%{keep(state, transcript) | turn: turn})

      {:error, ids} ->
        refuse(state, from, Error.new(:no_such_call, Enum.join(ids, ", ")))
    end
  end

  defp refuse(state, from, error) do
    GenServer.reply(from, {:error, error})
    next(state)
  end

  # Its course

  defp run(%{turn: turn} = state) do
    case AxonPort.run(state.server, state.agent, turn.prompt, run_options(state)) do
      {:ok, ref} -> doing(state, {:run, ref})
      {:error, error} -> ran({:error, error}, state)
    end
  end

  defp run_options(%{turn: %Turn{transcript: transcript} = turn} = state) do
    given = %{history: Transcript.history(transcript)}

    given =
      if transcript.answers == %{}, do: given, else: Map.put(given, :deferred_results, transcript.answers)

    state.options |> Map.merge(turn.options) |> Map.merge(given) |> Map.to_list()
  end

  defp ran({:result, %Result{status: :complete} = result}, state) do
    state |> heard(result) |> finish({:ok, result})
  end

  defp ran({:result, %Result{status: :deferred, deferred: %{"calls" => calls}} = result}, state) do
    %{turn: turn} = state = heard(state, result)
    turn = %{turn | result: result, attempt: 1, transcript: Transcript.leave_open(turn.transcript, calls)}
    resolve(%{state | turn: turn})
  end

  defp ran({:error, %Error{} = error}, state) do
    %{turn: turn} = state = heard(state, error)

    if Error.retryable?(error) and turn.attempt < state.attempts and not turn.cancelled do
      timer = :erlang.start_timer(delay(state, error), self(), :again)
      doing(%{state | turn: %{turn | attempt: turn.attempt + 1}}, {:wait, timer})
    else
      finish(state, {:error, error})
    end
  end

  # What was said, well or not, holds the prompt: it is not said again.
  defp heard(%{turn: turn} = state, %{messages: messages, usage: usage}) do
    prompt = if messages in [nil, []], do: turn.prompt
    %{state | turn: %{turn | prompt: prompt, transcript: Transcript.add(turn.transcript, messages, usage)}}
  end

  defp resolve(%{turn: turn} = state) do
    calls = if turn.cancelled or turn.rounds == state.max_rounds, do: [], else: turn.transcript.open

    tasks =
      for call <- calls,
          {:ok, %Tool{resolve: resolve} = tool} <- [Agent.tool(state.agent, call["name"])],
          resolve != nil,
          into: %{} do
        task = Runner.resolve(state.tasks, tool, call, context(state, call))
        {task.ref, {task, call["call_id"]}}
      end

    if tasks == %{}, do: carry_on(state), else: doing(state, {:resolve, tasks})
  end

  defp context(%{turn: turn} = state, call) do
    deps = Map.get(turn.options, :deps, state.options[:deps])
    %{agent: state.agent, call_id: call["call_id"], run_id: turn.result.run_id, deps: deps}
  end

  defp resolved(%{turn: %Turn{doing: {:resolve, tasks}} = turn} = state, ref, outcome) do
    {{_task, call_id}, tasks} = Map.pop!(tasks, ref)
    state = %{state | turn: %{turn | transcript: answered(turn.transcript, call_id, outcome)}}
    if tasks == %{}, do: carry_on(state), else: doing(state, {:resolve, tasks})
  end

  defp answered(transcript, _call_id, :later), do: transcript

  defp answered(transcript, call_id, {:resolved, entry}) do
    {:ok, transcript} = Transcript.answer(transcript, %{call_id => entry})
    transcript
  end

  defp carry_on(%{turn: turn} = state) do
    case Transcript.unanswered(turn.transcript) do
      [] -> run(%{state | turn: %{turn | rounds: turn.rounds + 1}})
      calls -> finish(state, {:ok, %{turn.result | deferred: %{"calls" => calls}}})
    end
  end

  defp doing(%{turn: turn} = state, what), do: %{state | turn: %{turn | doing: what}}

  # Its end

  defp finish(%{turn: turn} = state, outcome) do
    transcript = Transcript.end_turn(turn.transcript)
    outcome = whole(outcome, transcript, state.transcript)
    state = keep(%{state | turn: nil}, transcript)
    GenServer.reply(turn.from, outcome)
    next(state)
  end

  # A turn can be many runs: whoever asked is told of all of them.
  defp whole({:ok, result}, now, before) do
    usage = Map.merge(result.usage || %{}, Transcript.spent(now, before))
    {:ok, %{result | messages: Transcript.last_turn(now), usage: usage}}
  end

  defp whole({:error, error}, _now, _before), do: {:error, error}

  # A run that is cancelled answers with what had been said; what else a turn does, ends here.
  defp cancel({:run, ref}, %{server: server, turn: turn} = state) do
    {:ok, _pid} = Task.Supervisor.start_child(state.tasks, fn -> AxonPort.cancel(server, ref) end)
    %{state | turn: %{turn | cancelled: true}}
  end

  defp cancel({:wait, timer}, state) do
    :erlang.cancel_timer(timer)
    finish(state, {:error, Error.new(:cancelled)})
  end

  defp cancel({:resolve, tasks}, state) do
    for {_ref, {task, _call_id}} <- tasks, do: Runner.stop(task)
    finish(state, {:error, Error.new(:cancelled)})
  end

  defp keep(state, transcript) do
    if state.save, do: state.save.(Stored.encode!(transcript, state.options))
    %{state | transcript: transcript}
  end

  # The longest that a timer of Erlang takes.
  @max_delay 4_294_967_295

  defp delay(%{backoff: {base, max}, turn: turn}, error) do
    wait = min(max, base * 2 ** (turn.attempt - 1))
    jittered = wait - :rand.uniform(div(wait, 2) + 1) + 1
    jittered |> max(error.retry_after_ms || 0) |> min(@max_delay)
  end
end
