defmodule AxonPort.SessionTest do
  use ExUnit.Case, async: true

  alias AxonPort.{Agent, Chunk, Codec, Command, Error, Random, Request, Result, Run, Session}

  defp open(session, kind, fields \\ []) do
    {id, session} = Session.reserve(session)
    fields = [id: id, agent_id: "a", ref: make_ref(), create: definition(fields[:agent])] ++ fields
    {session, effects} = Session.open(session, Request.new(kind, Command.new!("any"), fields))
    {session, id, effects}
  end

  defp heard(session, event), do: Session.receive_frame(session, Codec.encode!(event))

  defp sent(effects),
    do: for({:send, frame} <- effects, do: frame |> IO.iodata_to_binary() |> Codec.decode() |> elem(1))

  defp settled(effects), do: for({:settled, %{id: id}, outcome} <- effects, do: {id, outcome})

  defp result(id, value), do: %{type: "result", id: id, result: value}
  defp error(id, type), do: %{type: "error", id: id, error_type: type, message: "m", retryable: true}

  defp call(id, call_id),
    do: %{type: "tool_call", id: id, call_id: call_id, agent_id: "a", name: "t", args: %{}}

  defp definition(agent) do
    {:ok, command} = Run.definition(agent)
    command
  end

  # An answer to call "1".
  defp told(fields, kind \\ :tool, call_id \\ "1") do
    {:ok, command} = Command.answer(kind, call_id, fields)
    command
  end

  defp agent(instructions), do: Agent.new(id: "a", model: "test", instructions: instructions)

  describe "a request" do
    test "is sent, and settled by its result" do
      {session, id, effects} = open(Session.new(), :command)
      assert [%{"id" => ^id}] = sent(effects)
      assert {session, effects} = heard(session, result(id, %{"ok" => true}))
      assert settled(effects) == [{id, {:ok, %{"ok" => true}}}]
      assert session.requests == %{}
    end

    test "of a run is settled with a Result, or an Error" do
      {session, run, _} = open(Session.new(), :run)
      {session, stream, _} = open(session, :stream)
      {session, effects} = heard(session, result(run, "x"))
      assert [{^run, {:ok, %Result{output: "x"}}}] = settled(effects)
      {_session, effects} = heard(session, error(stream, "ModelTimeout"))
      assert [{^stream, {:error, %Error{reason: :model_timeout, retryable: true}}}] = settled(effects)
    end

    test "too long for a frame is not sent" do
      {session, id, effects} = open(Session.new(max_frame_bytes: 10), :run)
      assert [{^id, {:error, %Error{reason: :frame_too_large}}}] = settled(effects)
      assert {sent(effects), session.requests} == {[], %{}}
    end

    test "knows the limit of the worker once it is ready" do
      ready = %{type: "ready", protocol: 1, limits: %{max_frame_bytes: 10}}
      {session, [{:ready, %{"protocol" => 1}}]} = heard(Session.new(), ready)
      assert {_session, id, effects} = open(session, :run)
      assert [{^id, {:error, %Error{reason: :frame_too_large}}}] = settled(effects)
    end

    test "that was abandoned is settled at once, cancelled, and its end is for nobody" do
      {session, id, _} = open(Session.new(), :run)
      {session, [{:call, _request, _frame}]} = heard(session, call(id, "1"))
      {session, effects} = Session.abandon(session, id, Error.new(:owner_timeout))
      assert [{^id, {:error, %Error{reason: :owner_timeout}}}] = settled(effects)
      assert {:drop_call, "1"} in effects
      assert [%{"type" => "cancel", "target" => ^id, "id" => cancel}] = sent(effects)
      assert {^session, []} = Session.abandon(session, id, Error.new(:owner_timeout))
      assert {^session, []} = heard(session, call(id, "2"))
      assert {^session, []} = Session.answer(session, id, "1", told(%{"result" => 1}))
      {session, [{:released, %{id: ^id}}]} = heard(session, error(id, "Cancelled"))

      {session, [{:released, _}, {:settled, %{sink: :none}, _}]} =
        heard(session, result(cancel, %{cancelled: true}))

      assert session.requests == %{}
    end

    test "is released once: when the worker has let go of it, whoever waits" do
      released = fn effects -> for {:released, %{id: id}} <- effects, do: id end
      {session, done, effects} = open(Session.new(), :run)
      assert released.(effects) == []
      {session, left, _} = open(session, :run)
      {session, effects} = heard(session, result(done, "x"))
      # Before its caller has the answer, who may ask again at once.
      assert [{:released, %{id: ^done}}, {:settled, %{id: ^done}, _}] = effects
      {session, effects} = Session.abandon(session, left, Error.new(:abandoned))
      assert {released.(effects), Session.inflight(session)} == {[], 1}
      {session, effects} = heard(session, error(left, "Cancelled"))
      assert released.(effects) == [left]
      {_session, unsent, effects} = open(%{session | state: :draining}, :run)
      assert released.(effects) == [unsent]
    end

    test "tells the worker how much time is left, where this side knows the limit" do
      {session, _run, effects} = open(Session.new(), :run, timeout: 7, bounded: true)
      assert [%{"timeout_ms" => 7}] = sent(effects)
      {session, _run, effects} = open(session, :run, timeout: 0, bounded: true)
      assert [%{"timeout_ms" => 1}] = sent(effects)
      {_session, _run, effects} = open(session, :run, timeout: 7)
      refute Map.has_key?(hd(sent(effects)), "timeout_ms")
    end

    test "is found by its reference while somebody waits for it" do
      {session, id, _} = open(Session.new(), :run)
      %{ref: ref} = session.requests[id]
      assert Session.find(session, ref) == {:ok, id}
      {session, _} = Session.abandon(session, id, Error.new(:abandoned))
      assert Session.find(session, ref) == :error
    end
  end

  describe "calls" do
    test "are answered while they are open, each kind in its own way" do
      {session, id, _} = open(Session.new(), :run)
      {session, _} = heard(session, call(id, "1"))
      {session, _} = heard(session, %{call(id, "2") | type: "approval_request"})
      {session, effects} = Session.answer(session, id, "1", told(%{"result" => nil}))
      assert [%{"type" => "tool_result", "id" => ^id, "call_id" => "1", "result" => nil}] = sent(effects)
      {session, effects} = Session.answer(session, id, "2", told(%{"approved" => true}, :approval, "2"))
      assert [%{"type" => "approval", "call_id" => "2", "approved" => true}] = sent(effects)

      {session, [{:drop_call, "1"}]} =
        heard(session, %{type: "tool_cancel", id: id, call_id: "1", reason: "timeout"})

      assert {^session, []} = Session.answer(session, id, "1", told(%{"result" => 1}))
    end

    test "whose answer is too long are answered with that" do
      {session, id, _} = open(Session.new(max_frame_bytes: 200), :run)
      {session, _} = heard(session, call(id, "1"))
      long = told(%{"result" => String.duplicate("x", 300)})
      {_session, effects} = Session.answer(session, id, "1", long)
      assert [%{"error" => "the answer is longer than a frame may be"}] = sent(effects)
    end

    test "whose answer the worker refuses do not leave the run waiting" do
      {session, id, _} = open(Session.new(), :run)
      {session, _} = heard(session, call(id, "1"))
      complaint = Map.merge(error(nil, "InvalidCommand"), %{run_id: id, call_id: "1"})
      {_session, effects} = heard(session, complaint)
      assert [%{"type" => "tool_result", "call_id" => "1", "error" => "m"}] = sent(effects)
      assert [{:note, :error, _text}] = effects -- Enum.filter(effects, &match?({:send, _}, &1))
    end

    test "end with their run" do
      {session, id, _} = open(Session.new(), :run)
      {session, _} = heard(session, call(id, "1"))
      {_session, effects} = heard(session, result(id, "x"))
      assert [{:released, _}, {:settled, _, _}, {:drop_call, "1"}] = effects
    end
  end

  describe "an agent" do
    test "is created once, ahead of the run that brings it" do
      {session, run, effects} = open(Session.new(), :run, agent: agent("one"))
      assert [%{"type" => "create_agent", "id" => create, "replace" => true}, %{"id" => ^run}] = sent(effects)
      assert create != run
      {_session, next, effects} = open(session, :run, agent: agent("one"))
      assert [%{"id" => ^next}] = sent(effects)
    end

    test "that has changed is created again" do
      {session, _run, _} = open(Session.new(), :run, agent: agent("one"))
      {_session, _run, effects} = open(session, :run, agent: agent("two"))
      assert [%{"type" => "create_agent", "instructions" => "two"}, _run] = sent(effects)
    end

    test "that is refused fails the runs behind it, and is created anew by the next" do
      {session, run, effects} = open(Session.new(), :run, agent: agent("one"))
      [%{"id" => create}, _run] = sent(effects)
      {session, other, _} = open(session, :run, agent_id: "a")
      {session, effects} = heard(session, error(create, "InvalidAgent"))
      outcomes = for {id, {:error, %Error{reason: :invalid_agent}}} <- settled(effects), do: id
      assert Enum.sort(outcomes) == Enum.sort([create, run, other])

      assert Enum.sort(for %{"type" => "cancel", "target" => id} <- sent(effects), do: id) ==
               Enum.sort([run, other])

      {_session, _run, effects} = open(session, :run, agent: agent("one"))
      assert [%{"type" => "create_agent"}, _run] = sent(effects)
    end

    test "that is refused leaves the one that it was to replace" do
      old = agent("old")
      {session, created, _} = open(Session.new(), :create, agent: old)
      {session, _} = heard(session, result(created, %{}))
      {session, create, _} = open(session, :create, agent: agent("new"))
      {session, _} = heard(session, error(create, "AgentExists"))
      {session, run, effects} = open(session, :run)
      assert [%{"id" => ^run}] = sent(effects)
      assert session.requests[run].agent == old
    end

    test "that is longer than a frame fails its run, and nothing is sent" do
      long = agent(String.duplicate("x", 2000))
      {session, run, effects} = open(Session.new(max_frame_bytes: 1000), :run, agent: long)
      assert [{^run, {:error, %Error{reason: :frame_too_large}}}] = settled(effects)
      assert {sent(effects), session.requests, session.agents} == {[], %{}, %{}}
    end

    test "that the worker does not have after all is created by the next run" do
      {session, run, _} = open(Session.new(), :run, agent: agent("one"))
      {session, _} = heard(session, error(run, "AgentNotFound"))
      {_session, _run, effects} = open(session, :run, agent: agent("one"))
      assert [%{"type" => "create_agent"}, _run] = sent(effects)
    end
  end

  describe "the end" do
    test "of a draining session: runs are refused, commands are not" do
      {session, effects} = Session.drain(Session.new(), 100)
      assert [%{"type" => "shutdown", "grace_ms" => 100}] = sent(effects)
      {session, run, effects} = open(session, :run)
      assert [{^run, {:error, %Error{reason: :shutting_down}}}] = settled(effects)
      {_session, ping, effects} = open(session, :command)
      assert [%{"id" => ^ping}] = sent(effects)
    end

    test "settles everybody once, but for whom was settled before" do
      {session, one, _} = open(Session.new(), :run)
      {session, two, _} = open(session, :command)
      {session, left, _} = open(session, :run)
      {session, _} = Session.abandon(session, left, Error.new(:abandoned))
      error = Error.new(:worker_exited)
      {session, effects} = Session.close(session, error)
      assert for({id, {:error, ^error}} <- settled(effects), id in [one, two, left], do: id) == [one, two]
      assert {_session, []} = Session.close(session, error)
      {_session, late, effects} = open(session, :run)
      assert [{^late, {:error, %Error{reason: :not_ready}}}] = settled(effects)
    end
  end

  test "what is no protocol is a fault" do
    for text <- [
          "",
          "[]",
          "{}",
          ~s({"type": 1}),
          ~s({"type": "result"}),
          ~s({"type": "ready", "protocol": 2})
        ] do
      assert {_session, [{:fault, %Error{reason: :protocol_violation}}]} =
               Session.receive_frame(Session.new(), text)
    end
  end

  test "an event with a field that is none of its own is a fault, and nobody's crash" do
    {session, id, _} = open(Session.new(), :stream)
    call = call(id, "1")
    object = %{"a" => 1}

    for broken <- [
          %{type: "ready", protocol: 1, limits: [1]},
          %{type: "ready", protocol: 1, limits: %{max_frame_bytes: "ten"}},
          %{type: "ready", protocol: 1, limits: %{max_inflight: 0}},
          Map.delete(call, :name),
          Map.delete(call, :args),
          %{call | name: object},
          %{call | args: [1]},
          %{call | call_id: object},
          %{call | type: "approval_request", args: nil},
          Map.put(result(id, "x"), :usage, "many"),
          Map.put(result(id, "x"), :messages, object),
          Map.put(result(id, "x"), :deferred, 3),
          Map.put(error(id, "X"), :usage, [1]),
          %{error(id, "X") | error_type: object},
          %{error(id, "X") | message: object},
          %{error(nil, "X") | message: object},
          %{type: "chunk", id: id, kind: object, data: 1, seq: 0, step: 1},
          %{type: "chunk", id: id, kind: "text", data: 1, seq: nil, step: 1},
          %{type: "log", level: "info", message: object},
          %{type: "log", level: "info", message: "m", traceback: [1]}
        ] do
      assert {^session, [{:fault, %Error{reason: :protocol_violation}}]} = heard(session, broken)
    end
  end

  test "a call comes once; an approval and the call that follows it have one id" do
    {session, id, _} = open(Session.new(), :run)
    {session, [{:call, _, _}]} = heard(session, %{call(id, "1") | type: "approval_request"})
    {session, [{:call, _, _}]} = heard(session, call(id, "1"))

    for type <- ["tool_call", "approval_request"] do
      again = %{call(id, "1") | type: type}
      assert {^session, [{:fault, %Error{reason: :protocol_violation}}]} = heard(session, again)
    end
  end

  test "what a later version may say is passed over" do
    {session, id, _} = open(Session.new(), :stream)
    assert {_session, [{:note, :debug, _text}]} = heard(session, %{type: "news"})
    assert {^session, []} = heard(session, %{type: "chunk", id: id, seq: 0, step: 1, kind: "smell", data: 1})
    chunk = %{type: "chunk", id: id, seq: 0, step: 1, kind: "text", data: "a", colour: "red"}
    assert {_session, [{:chunk, _request, %Chunk{kind: :text, data: "a"}}]} = heard(session, chunk)
  end

  describe "whatever happens, in whatever order" do
    # The model: which requests nobody has been told of yet. Every step is one that a caller, a worker or a clock may take.
    test "each request is settled once, ids are never used twice, and nothing follows an end" do
      for seed <- 1..200 do
        Random.with_seed(seed, fn ->
          play(%{session: Session.new(), waiting: MapSet.new(), told: MapSet.new()}, 80)
        end)
      end
    end

    defp play(state, 0) do
      state = take(state, Session.close(state.session, Error.new(:worker_exited)))
      assert MapSet.size(state.waiting) == 0
    end

    defp play(state, steps),
      do:
        state
        |> move(Random.one_of([:open, :open, :hear, :hear, :hear, :abandon, :answer]))
        |> play(steps - 1)

    defp move(state, :open) do
      {id, session} = Session.reserve(state.session)
      kind = Random.one_of([:run, :stream, :command, :create])
      agent = if kind != :command, do: agent(Random.one_of(["one", "two"]))

      request =
        Request.new(kind, Command.new!("any"),
          id: id,
          agent_id: "a",
          agent: agent,
          create: definition(agent),
          ref: make_ref(),
          sink: {:test, id}
        )

      take(%{state | waiting: MapSet.put(state.waiting, id)}, Session.open(session, request))
    end

    defp move(state, :hear), do: take(state, heard(state.session, event(some_id(state))))

    defp move(state, :abandon),
      do: take(state, Session.abandon(state.session, some_id(state), Error.new(:owner_timeout)))

    defp move(state, :answer) do
      take(
        state,
        Session.answer(state.session, some_id(state), Random.one_of(["1", "2"]), told(%{"result" => 1}))
      )
    end

    # Any id that was ever given, or was not.
    defp some_id(state), do: :rand.uniform(state.session.next_id)

    defp event(id) do
      Random.one_of([
        result(id, "x"),
        error(id, Random.one_of(["Cancelled", "InvalidAgent", "AgentNotFound", "NeverHeardOf"])),
        call(id, Random.one_of(["1", "2"])),
        %{type: "tool_cancel", id: id, call_id: "1", reason: "finished"},
        %{type: "chunk", id: id, seq: 0, step: 1, kind: "text", data: "x"},
        %{type: "log", level: "info", message: "x", id: id}
      ])
    end

    defp take(state, {session, effects}), do: Enum.reduce(effects, %{state | session: session}, &check/2)

    defp check({:settled, %{sink: {:test, id}}, _outcome}, state) do
      assert id in state.waiting and id not in state.told
      %{state | waiting: MapSet.delete(state.waiting, id), told: MapSet.put(state.told, id)}
    end

    defp check({kind, %{sink: {:test, id}}, _more}, state) when kind in [:chunk, :call] do
      assert id in state.waiting
      state
    end

    defp check({:send, frame}, state) do
      {:ok, %{"id" => id}} = frame |> IO.iodata_to_binary() |> Codec.decode()
      assert id < state.session.next_id
      state
    end

    # The one fault of this worker is that it calls again with the same id.
    defp check({:fault, error}, state) do
      assert error.message =~ "for the second time"
      state
    end

    defp check(_of_our_own, state), do: state
  end
end
