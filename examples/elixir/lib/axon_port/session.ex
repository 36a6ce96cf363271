defmodule AxonPort.Session do
  @moduledoc """
  One conversation with one worker, without a port, a process or a clock.

  The session holds the one table of what is under way, and decides who is told what. Functions take what happened
  and give the session back with effects, which `AxonPort.Worker` carries out in their order.

  ## The life of a request

  | state | what happens | then | effects |
  | --- | --- | --- | --- |
  | | `open/2` | `:open` | `:send` |
  | | `open/2` of what cannot be sent | gone | `:released`, `:settled` with an error |
  | `:open` | `chunk` | `:open` | `:chunk` |
  | `:open` | `tool_call`, `approval_request` | `:open` | `:call` |
  | `:open` | terminal frame | gone | `:released`, `:settled` |
  | `:open` | `abandon/3`: owner died, time is up | `:abandoned` | `:settled`; a run's `cancel` is sent |
  | `:abandoned` | terminal frame | gone | `:released` |
  | `:abandoned` | anything else | `:abandoned` | |
  | `:open` | `close/2` | gone | `:settled` with the error |

  So each request is settled exactly once, whoever dies first. And a run that nobody waits for counts until the worker
  has let go of it: as long as that has no room for another one, none is sent to it.

  ## Agents

  A run that brings its agent needs no preparation: if the worker does not have that very definition under the
  agent's name, a `create_agent` is sent ahead of the run. The protocol keeps them in order, so nothing waits. If the
  definition is refused, the runs behind it are settled with that error.
  """

  alias AxonPort.{Chunk, Command, Error, Event, Request, Result}

  @protocol 1
  @default_frame_bytes 64 * 1024 * 1024

  @enforce_keys [:max_frame_bytes]
  defstruct [:max_frame_bytes, state: :starting, next_id: 1, requests: %{}, agents: %{}]

  @type t :: %__MODULE__{
          max_frame_bytes: pos_integer,
          state: :starting | :ready | :draining | :closed,
          next_id: pos_integer,
          requests: %{pos_integer => Request.t()},
          agents: %{String.t() => {agent :: term, created_by :: pos_integer}}
        }

  @typedoc """
    * `{:send, iodata}` - write this frame
    * `{:settled, request, outcome}` - the request has its answer; nothing more follows
    * `{:released, request}` - the worker has nothing to do with it any more
    * `{:chunk, request, chunk}` - a piece of its answer
    * `{:call, request, frame}` - run a tool, or ask for approval
    * `{:drop_call, call_id}` - nobody waits for this call any more
    * `{:log, frame, request}` - the worker's log, with the request it belongs to or nil
    * `{:note, level, text}` - something that people may want to know
    * `{:ready, frame}`, `{:goodbye, reason}` - the worker's first and last word
    * `{:fault, error}` - this is no worker: give it up
  """
  @type effect ::
          {:send, iodata}
          | {:settled, Request.t(), {:ok, term} | {:error, Error.t()}}
          | {:released, Request.t()}
          | {:chunk, Request.t(), Chunk.t()}
          | {:call, Request.t(), map}
          | {:drop_call, String.t()}
          | {:log, map, Request.t() | nil}
          | {:note, Logger.level(), String.t()}
          | {:ready, map}
          | {:goodbye, String.t()}
          | {:fault, Error.t()}

  @type step :: {t, [effect]}

  @doc "A session in which nothing has been said. `:max_frame_bytes` is what the worker was started with."
  @spec new(keyword) :: t
  def new(options \\ []) do
    %__MODULE__{max_frame_bytes: options[:max_frame_bytes] || @default_frame_bytes}
  end

  @doc "An id for the next request. None is ever given twice."
  @spec reserve(t) :: {pos_integer, t}
  def reserve(%__MODULE__{next_id: id} = session), do: {id, %{session | next_id: id + 1}}

  @doc "How many runs are under way, abandoned ones included."
  @spec inflight(t) :: non_neg_integer
  def inflight(session), do: Enum.count(session.requests, fn {_id, request} -> Request.run?(request) end)

  @doc "Takes over a request whose `id` was reserved."
  @spec open(t, Request.t()) :: step
  def open(%__MODULE__{state: :closed} = session, request) do
    refuse(session, request, Error.new(:not_ready))
  end

  def open(%__MODULE__{state: :draining} = session, request) do
    if Request.run?(request),
      do: refuse(session, request, Error.new(:shutting_down)),
      else: start(session, request)
  end

  def open(session, request), do: start(session, request)

  defp start(session, request) do
    case fits(session, request.command, Request.limit_ms(request)) do
      :ok -> prepare(session, request)
      {:error, error} -> refuse(session, request, error)
    end
  end

  defp fits(%{max_frame_bytes: longest}, command, limit_ms \\ nil) do
    if Command.size(command, limit_ms) <= longest,
      do: :ok,
      else: {:error, Error.new(:frame_too_large, "at most #{longest} bytes")}
  end

  @doc "Settles a request that is not sent."
  @spec refuse(t, Request.t(), Error.t()) :: step
  def refuse(session, request, error) do
    {session, [{:released, request}, {:settled, request, {:error, error}}]}
  end

  # What has to be known or said before the command goes out.

  defp prepare(session, %Request{kind: :create, agent_id: name} = request) do
    before = session.agents[name]
    session = put_in(session.agents[name], {request.agent, request.id})
    send_request(session, %{request | replaces: before})
  end

  defp prepare(session, %Request{kind: :delete} = request) do
    session |> forget(request.agent_id) |> send_request(request)
  end

  defp prepare(session, %Request{agent: agent, agent_id: name} = request) when agent != nil do
    case session.agents do
      %{^name => {^agent, created_by}} -> send_request(session, %{request | needs: created_by})
      _missing_or_other -> create_first(session, request)
    end
  end

  defp prepare(session, %Request{kind: kind, agent_id: name} = request) when kind in [:run, :stream] do
    case session.agents do
      %{^name => {agent, created_by}} -> send_request(session, %{request | agent: agent, needs: created_by})
      _unknown -> send_request(session, request)
    end
  end

  defp prepare(session, request), do: send_request(session, request)

  defp create_first(session, %Request{agent: agent, create: command} = request) do
    case fits(session, command) do
      :ok ->
        {id, session} = reserve(session)
        create = Request.new(:create, command, id: id, agent: agent, agent_id: request.agent_id)
        {session, created} = prepare(session, create)
        {session, sent} = send_request(session, %{request | needs: id})
        {session, created ++ sent}

      {:error, error} ->
        refuse(session, request, error)
    end
  end

  defp send_request(session, request) do
    {put(session, request), [{:send, Command.frame(request.command, request.id, Request.limit_ms(request))}]}
  end

  defp forget(session, name), do: %{session | agents: Map.delete(session.agents, name)}
  defp put(session, request), do: put_in(session.requests[request.id], request)

  @doc """
  Nobody waits for this request any more: it is settled with the error, and a run is cancelled. The terminal frame
  that follows is for nobody.
  """
  @spec abandon(t, pos_integer, Error.t()) :: step
  def abandon(session, id, error) do
    case session.requests do
      %{^id => %Request{state: :open} = request} ->
        session = put(session, %{request | state: :abandoned, calls: %{}})
        {session, cancels} = if Request.run?(request), do: send_cancel(session, id), else: {session, []}
        {session, [{:settled, request, {:error, error}} | drops(request) ++ cancels]}

      _gone ->
        {session, []}
    end
  end

  defp send_cancel(session, target) do
    {id, session} = reserve(session)
    send_request(session, Request.new(:command, Command.new!("cancel", target: target), id: id))
  end

  @doc "The id of the run that its caller knows by this reference, while somebody waits for it."
  @spec find(t, reference) :: {:ok, pos_integer} | :error
  def find(session, ref) do
    Enum.find_value(session.requests, :error, fn
      {id, %Request{ref: ^ref, state: :open}} -> {:ok, id}
      _other -> nil
    end)
  end

  @doc "More credit for a stream. For one that is over, nothing."
  @spec credit(t, pos_integer, pos_integer) :: [effect]
  def credit(session, id, n) do
    case session.requests do
      %{^id => %Request{kind: :stream, state: :open}} ->
        [{:send, Command.frame(Command.new!("credit", n: n), id)}]

      _over ->
        []
    end
  end

  @doc """
  Answers a call of a run. An answer that is longer than a frame becomes one that says so. For a call that is over,
  nothing.
  """
  @spec answer(t, pos_integer, String.t(), Command.t()) :: step
  def answer(session, id, call_id, command) do
    case session.requests do
      %{^id => %Request{calls: %{^call_id => kind}}} ->
        command = if fits(session, command) == :ok, do: command, else: too_long(kind, call_id)
        {session, [{:send, Command.frame(command, id)}]}

      _over ->
        {session, []}
    end
  end

  defp too_long(kind, call_id) do
    Command.refusal(kind, call_id, "the answer is longer than a frame may be")
  end

  @doc "From now on no run is taken; what is under way goes on. Sends the `shutdown`."
  @spec drain(t, non_neg_integer) :: step
  def drain(session, grace_ms) do
    {id, session} = reserve(session)
    shutdown = Request.new(:command, Command.new!("shutdown", grace_ms: grace_ms), id: id)
    send_request(%{session | state: :draining}, shutdown)
  end

  @doc "The worker is gone: everybody who waits is told so."
  @spec close(t, Error.t()) :: step
  def close(session, error) do
    effects =
      for {_id, %Request{state: :open} = request} <- Enum.sort(session.requests),
          effect <- [{:settled, request, {:error, error}} | drops(request)],
          do: effect

    {%{session | state: :closed, requests: %{}, agents: %{}}, effects}
  end

  @doc "What a frame from the worker means."
  @spec receive_frame(t, binary) :: step
  def receive_frame(session, payload) do
    case Event.read(payload) do
      {:ok, %{"type" => type} = frame} -> heard(type, frame, session)
      {:error, why} -> {session, [fault(why)]}
    end
  end

  defp fault(text), do: {:fault, Error.new(:protocol_violation, text)}

  # The shape of each has been looked at.
  defp heard("result", %{"id" => id} = frame, session), do: terminal(session, id, frame)
  defp heard("error", %{"id" => nil} = frame, session), do: complaint(session, frame)
  defp heard("error", %{"id" => id} = frame, session), do: terminal(session, id, frame)

  defp heard("chunk", %{"id" => id} = frame, session) do
    with %{^id => %Request{state: :open} = request} <- session.requests,
         {:ok, chunk} <- Chunk.from_frame(frame) do
      {session, [{:chunk, request, chunk}]}
    else
      _nobody_waits -> {session, []}
    end
  end

  defp heard("tool_call", frame, session), do: called(session, :tool, frame)
  defp heard("approval_request", frame, session), do: called(session, :approval, frame)

  defp heard("tool_cancel", %{"id" => id, "call_id" => call_id}, session) do
    case session.requests do
      %{^id => %Request{calls: %{^call_id => _}} = request} ->
        {put(session, %{request | calls: Map.delete(request.calls, call_id)}), [{:drop_call, call_id}]}

      _over ->
        {session, []}
    end
  end

  defp heard("log", frame, session), do: {session, [{:log, frame, session.requests[frame["id"]]}]}

  defp heard("ready", %{"protocol" => @protocol} = frame, session) do
    limit = get_in(frame, ["limits", "max_frame_bytes"]) || session.max_frame_bytes
    state = if session.state == :starting, do: :ready, else: session.state
    {%{session | state: state, max_frame_bytes: limit}, [{:ready, frame}]}
  end

  defp heard("ready", frame, session) do
    {session, [fault("protocol #{inspect(frame["protocol"])}, where #{@protocol} is spoken here")]}
  end

  defp heard("goodbye", frame, session), do: {session, [{:goodbye, frame["reason"]}]}
  defp heard(type, _frame, session), do: {session, [{:note, :debug, "the worker sent #{inspect(type)}"}]}

  defp called(session, kind, %{"id" => id, "call_id" => call_id} = frame) do
    case session.requests do
      %{^id => %Request{state: :open} = request} ->
        if again?(request.calls[call_id], kind) do
          {session, [fault("the call #{call_id} for the second time")]}
        else
          request = put_in(request.calls[call_id], kind)
          {put(session, request), [{:call, request, frame}]}
        end

      _over ->
        {session, []}
    end
  end

  # An approval and the call that follows it have the same id (CALL-ID).
  defp again?(nil, _kind), do: false
  defp again?(:approval, :tool), do: false
  defp again?(_before, _kind), do: true

  # A mistake of ours that belongs to no command. If it was the answer to a call, the run would wait for ever.
  defp complaint(session, %{"run_id" => id, "call_id" => call_id, "error_type" => type} = frame)
       when type != "UnknownToolCall" do
    case session.requests do
      %{^id => %Request{calls: %{^call_id => kind}}} ->
        refusal = Command.refusal(kind, call_id, frame["message"])
        {session, [{:send, Command.frame(refusal, id)}, note(frame)]}

      _over ->
        {session, [note(frame)]}
    end
  end

  defp complaint(session, frame), do: {session, [note(frame)]}

  defp note(frame), do: {:note, :error, "the worker complains: #{frame["error_type"]}: #{frame["message"]}"}

  defp terminal(session, id, frame) do
    case Map.pop(session.requests, id) do
      {nil, _requests} ->
        {session, [{:note, :warning, "the worker answers #{inspect(id)}, which nobody asked"}]}

      {request, requests} ->
        session = %{session | requests: requests}
        outcome = outcome(request, frame)
        {session, dependent} = after_terminal(session, request, outcome)
        {session, settled(request, outcome) ++ dependent}
    end
  end

  defp settled(%Request{state: :abandoned} = request, _outcome), do: [{:released, request}]

  # In this order: whoever has its answer may ask again at once.
  defp settled(request, outcome) do
    [{:released, request}, {:settled, request, outcome} | drops(request)]
  end

  defp drops(request), do: for({call_id, _kind} <- request.calls, do: {:drop_call, call_id})

  defp outcome(_request, %{"type" => "error"} = frame), do: {:error, Error.from_frame(frame)}

  defp outcome(request, %{"result" => result} = frame) do
    {:ok, if(Request.run?(request), do: Result.from_frame(frame), else: result)}
  end

  # An agent that was refused: what it was to replace is there still, and the runs that went out behind it cannot be
  # meant for that.
  defp after_terminal(session, %Request{kind: :create, id: id} = create, {:error, error}) do
    session =
      if match?({_, ^id}, session.agents[create.agent_id]), do: restore(session, create), else: session

    dependent = for {run_id, %Request{needs: ^id}} <- Enum.sort(session.requests), do: run_id
    Enum.reduce(dependent, {session, []}, &abandon_dependent(&1, &2, error))
  end

  # Deleted elsewhere, lost otherwise: the next run brings it along again.
  defp after_terminal(session, %Request{agent_id: name} = request, {:error, %Error{reason: :agent_not_found}})
       when name != nil and request.kind in [:run, :stream] do
    {forget(session, name), []}
  end

  defp after_terminal(session, _request, _outcome), do: {session, []}

  defp restore(session, %Request{agent_id: name, replaces: nil}), do: forget(session, name)
  defp restore(session, %Request{agent_id: name, replaces: before}), do: put_in(session.agents[name], before)

  defp abandon_dependent(id, {session, effects}, error) do
    {session, more} = abandon(session, id, error)
    {session, effects ++ more}
  end
end
