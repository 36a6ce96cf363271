defmodule AxonPort.ConversationTest do
  use ExUnit.Case, async: true

  import AxonPort.RealWorker
  import ExUnit.CaptureLog

  alias AxonPort.{Conversation, Error, Result, Tool, Worker}

  @patience AxonPort.RealWorker.patience()

  defmodule Strict do
    @moduledoc false
    def save("never"), do: :ok
  end

  # Stays, whatever happens to its one worker.
  @pool __MODULE__.Pool

  setup_all do
    start_supervised!({AxonPort.Supervisor, name: @pool, workers: 1, backoff: [base: 1, max: 10]})
    %{worker: start_worker()}
  end

  defp kill_worker_of_pool do
    [worker] = AxonPort.Router.workers(@pool)
    signal(os_pid(worker), "KILL")
  end

  # A conversation that does not give up before a worker is there again.
  @stubborn [attempts: 100_000, backoff: [base: 1, max: 50]]

  defp converse(worker, agent, options \\ []) do
    start_supervised!({Conversation, [server: worker, agent: agent] ++ options}, id: make_ref())
  end

  defp prompts(messages) do
    for %{"parts" => parts} <- messages, %{"part_kind" => "user-prompt", "content" => text} <- parts, do: text
  end

  # A tool that tells the test that it was called, and waits for what it shall return.
  defp told_tool(name, fields \\ []) do
    test = self()

    run = fn args ->
      send(test, {name, self(), args})
      receive(do: ({:return, outcome} -> outcome))
    end

    Tool.new([name: name, run: run, parameters: %{"type" => "object"}] ++ fields)
  end

  defp calling(name, id, fields) do
    scripted(id, [%{tool_calls: [%{name: name, args: %{n: 1}}]}, %{text: "done"}], fields)
  end

  # The test is told of each run of this agent that fails.
  defp attach_run_errors(agent_id) do
    test = self()

    handler = fn _event, _measurements, metadata, _config ->
      if metadata.agent_id == agent_id, do: send(test, {:run_failed, metadata.reason})
    end

    :ok = AxonPort.Telemetry.attach(agent_id, [[:axon_port, :run, :exception]], handler)
    on_exit(fn -> AxonPort.Telemetry.detach(agent_id) end)
  end

  defp asking(conversation, prompt), do: Task.async(fn -> Conversation.ask(conversation, prompt) end)

  describe "a conversation" do
    test "remembers what was said, and what it cost", %{worker: worker} do
      conversation = converse(worker, scripted("memory", [%{text: "hello"}]))
      assert {:ok, %Result{output: "hello", messages: first}} = Conversation.ask(conversation, "one")
      assert {:ok, %Result{output: "hello", messages: second}} = Conversation.ask(conversation, "two")

      assert Conversation.history(conversation) == first ++ second
      assert prompts(first ++ second) == ["one", "two"]
      assert %{"requests" => 2, "output_tokens" => tokens} = Conversation.usage(conversation)
      assert tokens > 0
    end

    test "gives what was said to the next run", %{worker: worker} do
      conversation = converse(worker, scripted("memory", [%{text: "hello"}]))
      {:ok, %{usage: alone}} = Conversation.ask(conversation, "one")
      {:ok, %{usage: after_one}} = Conversation.ask(conversation, "two")
      assert after_one["input_tokens"] > alone["input_tokens"]
    end

    test "makes one turn at a time, in the order in which they were asked for", %{worker: worker} do
      conversation = converse(worker, calling("slow", "queue", tools: [told_tool("slow")]))

      first = asking(conversation, "one")
      assert_receive {"slow", tool, _args}, @patience

      later =
        for {prompt, waiting} <- [{"two", 1}, {"three", 2}] do
          task = asking(conversation, prompt)

          eventually(
            fn -> :queue.len(:sys.get_state(conversation).waiting) == waiting end,
            "#{prompt} does not wait"
          )

          task
        end

      refute_received {"slow", _tool, _args}

      send(tool, {:return, {:ok, 1}})
      assert {:ok, %Result{output: "done"}} = Task.await(first, @patience)

      for task <- later do
        assert_receive {"slow", tool, _args}, @patience
        send(tool, {:return, {:ok, 1}})
        assert {:ok, _result} = Task.await(task, @patience)
      end

      assert prompts(Conversation.history(conversation)) == ["one", "two", "three"]
    end

    test "refuses turns where too many wait", %{worker: worker} do
      conversation = converse(worker, calling("slow", "full", tools: [told_tool("slow")]), max_waiting: 0)
      first = asking(conversation, "one")
      assert_receive {"slow", tool, _args}, @patience
      assert {:error, %Error{reason: :overloaded}} = Conversation.ask(conversation, "two")

      send(tool, {:return, {:ok, 1}})
      assert {:ok, _result} = Task.await(first, @patience)
    end

    test "goes on when whoever asked has gone", %{worker: worker} do
      conversation = converse(worker, calling("slow", "orphan", tools: [told_tool("slow")]))
      asker = spawn(fn -> Conversation.ask(conversation, "one") end)
      assert_receive {"slow", tool, _args}, @patience
      Process.exit(asker, :kill)
      send(tool, {:return, {:ok, 1}})

      assert {:ok, _result} = Conversation.ask(conversation, "two", model: %{script: [%{text: "hello"}]})
      assert prompts(Conversation.history(conversation)) == ["one", "two"]
    end

    test "has options for every run, which can be changed", %{worker: worker} do
      agent = scripted("templates", [%{text: "hello"}], instructions: "You help {{name}}.")
      conversation = converse(worker, agent, options: [deps: %{name: "Ada"}])

      assert {:ok, %{messages: [%{"instructions" => "You help Ada."} | _]}} =
               Conversation.ask(conversation, "one")

      assert {:ok, %{messages: [%{"instructions" => "You help Grace."} | _]}} =
               Conversation.ask(conversation, "two", deps: %{name: "Grace"})

      assert Conversation.configure(conversation, deps: %{name: "Alan"}) == :ok

      assert {:ok, %{messages: [%{"instructions" => "You help Alan."} | _]}} =
               Conversation.ask(conversation, "three")

      assert Conversation.configure(conversation, deps: nil) == :ok
      assert {:error, %Error{reason: :invalid_deps}} = Conversation.ask(conversation, "four")
    end

    test "may have another model and another output for one turn", %{worker: worker} do
      conversation = converse(worker, scripted("turns", [%{text: "hello"}]))
      turn = [output: %{until: Date}, model: {:script, [%{output: %{until: "2026-12-01"}}]}]
      assert {:ok, %Result{output: %{until: ~D[2026-12-01]}}} = Conversation.ask(conversation, "one", turn)
      assert {:ok, %Result{output: "hello"}} = Conversation.ask(conversation, "two")
    end

    test "lives beside the workers of a supervisor, and is not begun again without its history" do
      {:ok, conversation} = Conversation.start(@pool, agent: scripted("beside", [%{text: "hello"}]))
      assert {:ok, %Result{output: "hello"}} = Conversation.ask(conversation, "one")
      living = fn -> DynamicSupervisor.which_children(AxonPort.Supervisor.conversations(@pool)) end
      assert [{_id, ^conversation, :worker, _modules}] = living.()

      Process.exit(conversation, :kill)
      eventually(fn -> living.() == [] end, "it was begun again")
      assert {:error, %Error{reason: :conversation_exited}} = Conversation.ask(conversation, "two")
    end

    test "that is not there is an error" do
      assert {:error, %Error{reason: :conversation_exited}} = Conversation.ask(:no_such_conversation, "one")
    end
  end

  describe "a turn that fails" do
    test "is told, and what was said is kept to go on with", %{worker: worker} do
      agent = scripted("failing", [%{error: %{status: 400, message: "no"}}])
      conversation = converse(worker, agent)
      assert {:error, %Error{reason: :model_http_error}} = Conversation.ask(conversation, "one")
      assert prompts(Conversation.history(conversation)) == ["one"]

      assert {:ok, %Result{output: "yes", messages: messages}} =
               Conversation.resume(conversation, model: %{script: [%{text: "yes"}]})

      assert prompts(messages) == ["one"]
      assert Conversation.history(conversation) == messages
    end

    test "can be taken back", %{worker: worker} do
      conversation = converse(worker, scripted("failing", [%{error: %{status: 400, message: "no"}}]))
      {:ok, %{messages: first}} = Conversation.ask(conversation, "one", model: %{script: [%{text: "yes"}]})
      assert {:error, _error} = Conversation.ask(conversation, "two")
      assert Conversation.rewind(conversation) == :ok
      assert Conversation.history(conversation) == first
    end

    test "is made again where it may be, and goes on from what had been said", %{worker: worker} do
      {:ok, calls} = Agent.start_link(fn -> 0 end)

      # Only the first call takes longer than the run may; the machine may be slow enough for others to.
      run = fn _args ->
        if Agent.get_and_update(calls, &{&1, &1 + 1}) == 0, do: receive(do: (:never -> :ok)), else: {:ok, 1}
      end

      agent =
        calling("sticky", "again",
          tools: [Tool.new(name: "sticky", run: run, parameters: %{"type" => "object"})]
        )

      conversation =
        converse(worker, agent, attempts: 200, backoff: [base: 1, max: 2], options: [timeout: 700])

      assert {:ok, %Result{output: "done", messages: messages}} = Conversation.ask(conversation, "one")
      assert prompts(messages) == ["one"]
      assert Conversation.history(conversation) == messages
      assert Agent.get(calls, & &1) >= 2
    end

    test "is made again as often as :attempts says, and then told", %{worker: worker} do
      attach_run_errors("unlucky")
      agent = scripted("unlucky", [%{error: %{status: 503, message: "down"}}])
      conversation = converse(worker, agent, attempts: 3, backoff: [base: 1, max: 1])

      assert {:error, %Error{reason: :model_http_error, retryable: true}} =
               Conversation.ask(conversation, "one")

      for _attempt <- 1..3, do: assert_receive({:run_failed, :model_http_error}, @patience)
      refute_received {:run_failed, _reason}
      assert prompts(Conversation.history(conversation)) == ["one"]
    end

    test "waits no longer than it has to for a worker that was full" do
      worker = start_worker(max_inflight: 1)
      attach_run_errors("patient")
      blocker = converse(worker, calling("slow", "blocker", tools: [told_tool("slow")]))
      blocked = asking(blocker, "one")
      assert_receive {"slow", tool, _args}, @patience

      conversation =
        converse(worker, scripted("patient", [%{text: "at last"}]),
          attempts: 100_000,
          backoff: [base: 1, max: 2]
        )

      patient = asking(conversation, "two")
      for _attempt <- 1..3, do: assert_receive({:run_failed, :overloaded}, @patience)

      send(tool, {:return, {:ok, 1}})
      assert {:ok, %Result{output: "done"}} = Task.await(blocked, @patience)
      assert {:ok, %Result{output: "at last", messages: messages}} = Task.await(patient, @patience)
      assert prompts(messages) == ["two"]
    end
  end

  describe "the death of the worker" do
    test "between two turns is not noticed" do
      conversation = converse(@pool, scripted("lasting", [%{text: "hello"}]), @stubborn)
      {:ok, _result} = Conversation.ask(conversation, "one")
      kill_worker_of_pool()
      assert {:ok, %Result{output: "hello"}} = Conversation.ask(conversation, "two")
      assert prompts(Conversation.history(conversation)) == ["one", "two"]
    end

    test "in the middle of a turn makes the turn begin again, and whoever asked is answered once" do
      conversation = converse(@pool, calling("slow", "mid", tools: [told_tool("slow")]), @stubborn)
      turn = asking(conversation, "one")
      assert_receive {"slow", _tool, _args}, @patience
      kill_worker_of_pool()
      assert_receive {"slow", tool, _args}, @patience
      send(tool, {:return, {:ok, 1}})

      assert {:ok, %Result{output: "done"}} = Task.await(turn, @patience)
      assert prompts(Conversation.history(conversation)) == ["one"]
      refute_received {"slow", _tool, _args}
    end

    test "for good is told, and the turn has not taken place" do
      worker = start_worker()

      conversation =
        converse(worker, calling("slow", "gone", tools: [told_tool("slow")]),
          attempts: 2,
          backoff: [base: 1, max: 1]
        )

      turn = asking(conversation, "one")
      assert_receive {"slow", _tool, _args}, @patience
      signal(os_pid(worker), "KILL")
      assert {:error, %Error{retryable: true}} = Task.await(turn, @patience)
      assert Conversation.history(conversation) == []
    end
  end

  describe "calls that are left open" do
    # Two calls: one that nobody makes during the run, and one that nobody has allowed yet.
    @two_calls %{
      script: [%{tool_calls: [%{name: "ship", args: %{order: 17}}, %{name: "refund", args: %{amount: 30}}]}]
    }

    # A script begins anew with each run. This model goes on where the history ends.
    @goes_on [model: %{script: [%{text: "all done"}]}]

    defp clerk do
      test = self()

      refund = fn args ->
        send(test, {:refunded, args})
        {:ok, "refunded"}
      end

      ship = [name: "ship", handler: :deferred, parameters: %{order: :integer}]
      refund = [name: "refund", run: refund, approval: :deferred, parameters: %{amount: :integer}]
      [id: "clerk", model: @two_calls, tools: [ship, refund]]
    end

    defp ids(conversation), do: Map.new(Conversation.open_calls(conversation), &{&1["name"], &1["call_id"]})

    test "are told, and other turns are refused until they are answered", %{worker: worker} do
      conversation = converse(worker, clerk())

      assert {:ok, %Result{status: :deferred, output: nil, deferred: deferred}} =
               Conversation.ask(conversation, "one")

      assert [
               %{"name" => "ship", "args" => %{"order" => 17}},
               %{"name" => "refund", "args" => %{"amount" => 30}, "approval" => true}
             ] = deferred["calls"]

      assert Conversation.open_calls(conversation) == deferred["calls"]
      assert {:error, %Error{reason: :calls_open}} = Conversation.ask(conversation, "two")
      assert {:error, %Error{reason: :calls_open}} = Conversation.resume(conversation)
      assert prompts(Conversation.history(conversation)) == ["one"]
      refute_received {:refunded, _args}
    end

    test "are answered one after the other; with the last the turn goes on", %{worker: worker} do
      conversation = converse(worker, clerk())
      {:ok, _deferred} = Conversation.ask(conversation, "one")
      %{"ship" => ship, "refund" => refund} = ids(conversation)

      assert {:ok, %Result{status: :deferred, deferred: %{"calls" => [%{"call_id" => ^refund}]}}} =
               Conversation.answer(conversation, %{ship => {:ok, %{state: :shipped}}})

      assert {:error, %Error{reason: :calls_open}} = Conversation.ask(conversation, "two")

      assert {:ok, %Result{status: :complete, output: "all done", messages: messages}} =
               Conversation.answer(conversation, %{refund => {:approve, %{amount: 10}}}, @goes_on)

      assert_received {:refunded, %{amount: 10}}
      assert Conversation.open_calls(conversation) == []
      assert Conversation.history(conversation) == messages
      assert [%{"content" => %{"state" => "shipped"}}, %{"content" => "refunded"}] = returns(messages)
      assert {:ok, _result} = Conversation.ask(conversation, "two", @goes_on)
    end

    test "are not answered by what is no answer to them", %{worker: worker} do
      conversation = converse(worker, clerk())
      {:ok, _deferred} = Conversation.ask(conversation, "one")
      %{"ship" => ship, "refund" => refund} = ids(conversation)

      assert_raise ArgumentError, fn -> Conversation.answer(conversation, %{ship => :approve}) end
      assert_raise ArgumentError, fn -> Conversation.answer(conversation, %{refund => {:ok, 1}}) end

      assert {:error, %Error{reason: :no_such_call}} =
               Conversation.answer(conversation, %{"nobody" => {:ok, 1}})

      assert length(Conversation.open_calls(conversation)) == 2
    end

    test "are kept with the answers that they have, and go on in another process and another worker" do
      conversation = converse(@pool, clerk(), options: [deps: %{customer: "Ada"}, timeout: 60_000])
      {:ok, _deferred} = Conversation.ask(conversation, "one")
      %{"ship" => ship, "refund" => refund} = ids(conversation)
      {:ok, _still} = Conversation.answer(conversation, %{ship => {:failed, "out of stock"}})
      json = Conversation.to_json(conversation)
      spent = Conversation.usage(conversation)
      said = Conversation.history(conversation)
      GenServer.stop(conversation)
      kill_worker_of_pool()

      restored = converse(@pool, clerk(), [stored: json] ++ @stubborn)
      assert Conversation.history(restored) == said
      assert Conversation.usage(restored) == spent
      assert Conversation.to_json(restored) == json
      assert [%{"call_id" => ^refund}] = Conversation.open_calls(restored)

      assert {:ok, %Result{output: "all done"}} =
               Conversation.answer(restored, %{refund => {:deny, "too much"}}, @goes_on)

      refute_received {:refunded, _args}

      assert ["out of stock", "too much"] =
               restored |> Conversation.history() |> returns() |> Enum.map(& &1["content"])
    end

    test "that all have answers are carried on with by resume/2, if a worker was missing", %{worker: worker} do
      conversation = converse(worker, clerk())
      {:ok, _deferred} = Conversation.ask(conversation, "one")
      %{"ship" => ship, "refund" => refund} = ids(conversation)
      json = Conversation.to_json(conversation)

      lost = converse(:no_such_worker, clerk(), stored: json, attempts: 2, backoff: [base: 1, max: 1])
      answers = %{ship => {:ok, "shipped"}, refund => :approve}
      assert {:error, %Error{retryable: true}} = Conversation.answer(lost, answers, @goes_on)

      restored = converse(worker, clerk(), stored: Conversation.to_json(lost))
      assert {:error, %Error{reason: :calls_open}} = Conversation.ask(restored, "two")
      assert {:ok, %Result{output: "all done"}} = Conversation.resume(restored, @goes_on)
      assert_received {:refunded, %{amount: 30}}
    end

    test "go with the turn that is taken back", %{worker: worker} do
      conversation = converse(worker, clerk())
      {:ok, _deferred} = Conversation.ask(conversation, "one")
      assert Conversation.rewind(conversation) == :ok
      assert Conversation.open_calls(conversation) == []
      assert {:ok, %Result{output: "all done"}} = Conversation.ask(conversation, "two", @goes_on)
    end
  end

  describe "a tool's :resolve function" do
    # pydantic-ai's test model calls each tool once, and then answers.
    defp resolving(resolve, fields \\ []) do
      [
        id: "resolving",
        model: "test",
        tools: [[name: "ship", handler: :deferred, resolve: resolve] ++ fields]
      ]
    end

    test "answers a call, and the turn goes on by itself", %{worker: worker} do
      test = self()

      resolve = fn call, context ->
        send(test, {:asked, call, context})
        {:ok, :shipped}
      end

      conversation =
        converse(worker, resolving(resolve, parameters: %{order: :integer}), options: [deps: %{a: 1}])

      assert {:ok, %Result{status: :complete, messages: messages}} = Conversation.ask(conversation, "one")

      assert [%{"content" => "shipped", "tool_call_id" => call_id}] = returns(messages)
      assert_received {:asked, %{name: "ship", args: %{order: _number}}, context}
      assert %{call_id: ^call_id, deps: %{"a" => 1}, run_id: run_id} = context
      assert is_binary(run_id)
    end

    test "may leave it for later, or crash: it stays open", %{worker: worker} do
      for resolve <- [fn _call, _context -> :later end, fn _call, _context -> raise "ill" end] do
        conversation = converse(worker, resolving(resolve))
        assert {:ok, %Result{status: :deferred}} = Conversation.ask(conversation, "one")
        assert [%{"call_id" => id}] = Conversation.open_calls(conversation)
        assert {:ok, %Result{status: :complete}} = Conversation.answer(conversation, %{id => {:ok, 1}})
      end
    end

    test "answers no more than :max_rounds times in one turn", %{worker: worker} do
      test = self()

      resolve = fn _call, _context ->
        send(test, :asked)
        {:ok, 1}
      end

      # This model never has enough.
      agent = Keyword.put(resolving(resolve), :model, %{script: [%{tool_calls: [%{name: "ship"}]}]})
      conversation = converse(worker, agent, max_rounds: 3)
      assert {:ok, %Result{status: :deferred}} = Conversation.ask(conversation, "one")
      for _round <- 1..3, do: assert_received(:asked)
      refute_received :asked
    end
  end

  describe "cancel/1" do
    test "ends a run, and keeps what had been said", %{worker: worker} do
      conversation = converse(worker, calling("slow", "cancelled", tools: [told_tool("slow")]), attempts: 5)
      turn = asking(conversation, "one")
      assert_receive {"slow", tool, _args}, @patience
      monitor = Process.monitor(tool)
      assert Conversation.cancel(conversation)

      assert {:error, %Error{reason: :cancelled}} = Task.await(turn, @patience)
      assert_receive {:DOWN, ^monitor, :process, _pid, :killed}, @patience
      assert prompts(Conversation.history(conversation)) == ["one"]
      refute Conversation.cancel(conversation)
    end

    test "does not end a run that has just ended of itself, and says so" do
      worker = start_worker(misbehaving(:ends_before_its_cancel))
      conversation = converse(worker, scripted("a", [%{text: "x"}]))
      turn = asking(conversation, "one")
      eventually(fn -> Worker.info(worker).inflight == 1 end, "it does not run")
      assert Conversation.cancel(conversation) == false
      assert {:ok, %Result{output: "done"}} = Task.await(turn, @patience)
    end

    test "is as true as what becomes of the turn, whenever it comes", %{worker: worker} do
      conversation = converse(worker, scripted("close", [%{text: "x", delay_ms: 5}]), attempts: 1)

      for n <- 1..30 do
        turn = asking(conversation, "one")
        # Somewhere about its end.
        receive after: (n -> :ok)
        cancelled = Conversation.cancel(conversation)

        case Task.await(turn, @patience) do
          {:ok, %Result{output: "x"}} -> refute cancelled
          {:error, %Error{reason: :cancelled}} -> assert cancelled
        end
      end
    end

    test "ends a wait for a worker" do
      pool = __MODULE__.EmptyPool
      AxonPort.Pool.prepare(pool)
      start_supervised!({AxonPort.Pool, name: pool, ready_timeout: 3_600_000})
      conversation = converse(pool, scripted("nobody", [%{text: "hello"}]))
      turn = asking(conversation, "one")

      eventually(
        fn -> match?(%{doing: {:run, _errand}}, :sys.get_state(conversation)) end,
        "it does not run"
      )

      assert Conversation.cancel(conversation)
      assert {:error, %Error{reason: :cancelled}} = Task.await(turn, @patience)
      assert Conversation.history(conversation) == []
    end

    test "ends a wait between two attempts", %{worker: worker} do
      agent = scripted("waiting", [%{error: %{status: 503, message: "down", retry_after_ms: 3_600_000}}])
      conversation = converse(worker, agent)
      turn = asking(conversation, "one")

      eventually(
        fn -> match?(%{doing: {:wait, _timer}}, :sys.get_state(conversation)) end,
        "it does not wait"
      )

      assert Conversation.cancel(conversation)
      assert {:error, %Error{reason: :cancelled}} = Task.await(turn, @patience)
    end

    test "ends the :resolve functions, and leaves their calls open", %{worker: worker} do
      test = self()

      resolve = fn _call, _context ->
        send(test, {:asked, self()})
        receive(do: (:never -> :later))
      end

      conversation = converse(worker, resolving(resolve))
      turn = asking(conversation, "one")
      assert_receive {:asked, resolver}, @patience
      monitor = Process.monitor(resolver)
      assert {:error, %Error{reason: :turn_under_way}} = Conversation.rewind(conversation)
      assert Conversation.cancel(conversation)

      assert {:error, %Error{reason: :cancelled}} = Task.await(turn, @patience)
      assert_receive {:DOWN, ^monitor, :process, _pid, :killed}, @patience
      assert [%{"name" => "ship"}] = Conversation.open_calls(conversation)
    end
  end

  describe "storing" do
    test "happens before whoever asked hears of the turn; a conversation that crashed begins there", %{
      worker: worker
    } do
      {:ok, store} = Agent.start_link(fn -> nil end)

      options = [
        name: :stored_conversation,
        stored: fn -> Agent.get(store, & &1) end,
        save: fn json -> Agent.update(store, fn _before -> json end) end
      ]

      conversation = converse(worker, scripted("stored", [%{text: "hello"}]), options)
      {:ok, %{messages: messages}} = Conversation.ask(:stored_conversation, "one")
      assert Agent.get(store, & &1) == Conversation.to_json(conversation)

      monitor = Process.monitor(conversation)
      Process.exit(conversation, :kill)
      assert_receive {:DOWN, ^monitor, :process, _pid, :killed}, @patience
      eventually(fn -> is_pid(Process.whereis(:stored_conversation)) end, "it is not started again")
      assert Conversation.history(:stored_conversation) == messages
    end

    test "takes the options along, and nothing of a turn under way", %{worker: worker} do
      agent = calling("slow", "half", tools: [told_tool("slow")])
      conversation = converse(worker, agent, options: [metadata: %{tenant: 7}])
      empty = Conversation.to_json(conversation)
      turn = asking(conversation, "one")
      assert_receive {"slow", tool, _args}, @patience
      assert Conversation.to_json(conversation) == empty
      assert Conversation.history(conversation) == []

      send(tool, {:return, {:ok, 1}})
      {:ok, _result} = Task.await(turn, @patience)
      refute Conversation.to_json(conversation) == empty
      assert %{"options" => %{"metadata" => %{"tenant" => 7}}} = AxonPort.Codec.decode(empty) |> elem(1)
    end

    test "refuses a text that is none", %{worker: worker} do
      Process.flag(:trap_exit, true)
      options = [server: worker, agent: [id: "a", model: "test"]]

      for text <- ["", "{}", ~s({"version": 2, "options": {}, "transcript": {}})] do
        assert_raise ArgumentError, fn -> Conversation.start_link([stored: text] ++ options) end

        assert {:error, {%ArgumentError{}, _stacktrace}} =
                 Conversation.start_link([stored: fn -> text end] ++ options)
      end
    end
  end

  describe "options" do
    for {options, message} <- [
          {[agent: [id: "a", model: "test"]], ~r/:server/},
          {[server: :w], ~r/:agent/},
          {[server: "nonsense", agent: [id: "a", model: "test"]], ~r/:server/},
          {[server: {:cluster, "nonsense"}, agent: [id: "a", model: "test"]], ~r/:server/},
          {[server: :w, agent: [id: "a"]], ~r/neither/},
          {[server: :w, agent: [id: "a", model: "test"], attempts: 0], ~r/:attempts/},
          {[server: :w, agent: [id: "a", model: "test"], backoff: [base: 0]], ~r/backoff/},
          {[server: :w, agent: [id: "a", model: "test"], colour: 1], ~r/:colour/},
          {[server: :w, agent: [id: "a", model: "test"], options: [history: []]], ~r/:history/},
          {[server: :w, agent: [id: "a", model: "test"], options: [timeout: "1"]], ~r/:timeout/}
        ] do
      test "#{inspect(options)} are none" do
        for start <- [&Conversation.start_link/1, &Conversation.child_spec/1] do
          assert_raise ArgumentError, unquote(Macro.escape(message)), fn ->
            start.(unquote(Macro.escape(options)))
          end
        end
      end
    end

    test "of a supervisor that there is not, or of what can be none", %{worker: worker} do
      options = [agent: [id: "a", model: "test"]]
      assert {:error, %Error{reason: :not_ready}} = Conversation.start(NoSuchAgents, options)

      for name <- [worker, {:cluster, @pool}, "agents"],
          do: assert_raise(ArgumentError, fn -> Conversation.start(name, options) end)
    end

    test "of a turn are looked at before the turn", %{worker: worker} do
      conversation = converse(worker, id: "a", model: "test")
      assert_raise ArgumentError, ~r/:colour/, fn -> Conversation.ask(conversation, "one", colour: 1) end

      assert_raise ArgumentError, ~r/:timeout/, fn ->
        Conversation.ask(conversation, "one", timeout: 2 ** 64)
      end

      assert_raise ArgumentError, ~r/no type/, fn -> Conversation.ask(conversation, "one", output: :strin) end
      assert_raise ArgumentError, ~r/deps/, fn -> Conversation.ask(conversation, "one", deps: self()) end
    end
  end

  defp returns(messages) do
    for %{"parts" => parts} <- messages, %{"part_kind" => "tool-return"} = part <- parts, do: part
  end

  test "an agent that no worker can be told of is refused when the conversation begins" do
    agent = scripted("bad", [%{text: "x"}], deps: %{repo: self()})
    assert_raise ArgumentError, ~r/deps.repo/, fn -> Conversation.start_link(server: @pool, agent: agent) end
    deep = Enum.reduce(1..300, 1, fn _, value -> [value] end)
    agent = scripted("deep", [%{text: "x"}], deps: deep)
    assert_raise ArgumentError, ~r/200 levels/, fn -> Conversation.start_link(server: @pool, agent: agent) end
  end

  test "a crash report shows neither keys nor what was said" do
    Process.flag(:trap_exit, true)
    agent = scripted("a", [%{text: "secret"}])

    options = [
      server: @pool,
      agent: agent,
      options: [deps: %{token: "tk-secret"}],
      save: fn _json -> exit(:full) end
    ]

    {:ok, conversation} = Conversation.start_link(options)
    refute inspect(:sys.get_state(conversation), limit: :infinity) =~ "secret"

    report =
      capture_log(fn ->
        assert {:error, %Error{reason: :conversation_exited}} = Conversation.ask(conversation, "secret")
        assert_receive {:EXIT, ^conversation, :full}, @patience
      end)

    assert report =~ "full"
    refute report =~ "secret"
  end

  test "nor does one about a function of its user's that takes no such text" do
    Process.flag(:trap_exit, true)
    options = [server: @pool, agent: scripted("a", [%{text: "secret"}]), options: [deps: %{token: "secret"}]]

    {:ok, conversation} = Conversation.start_link([save: &Strict.save/1] ++ options)

    report =
      capture_log(fn ->
        assert {:error, %Error{reason: :conversation_exited}} = Conversation.ask(conversation, "secret")
        assert_receive {:EXIT, ^conversation, {_reason, [{Strict, :save, 1, _location} | _]}}, @patience
      end)

    assert report =~ "Strict.save/1"
    refute report =~ "secret"

    assert {:error, {_reason, [{Strict, :save, 1, _location} | _]}} =
             Conversation.start_link([stored: fn -> Strict.save("secret") end] ++ options)
  end

  test "no report of a supervisor shows a key" do
    model = %{name: "m", base_url: "http://127.0.0.1/v1", api_key: "sk-secret"}
    agent = [id: "a", model: model, deps: %{token: "sk-secret"}]
    options = [server: @pool, agent: agent, options: [deps: %{token: "sk-secret"}], stored: fn -> nil end]
    refute inspect(Conversation.child_spec(options), limit: :infinity) =~ "secret"

    supervisor =
      start_supervised!(%{
        id: :tree,
        start: {Supervisor, :start_link, [[{Conversation, options}], [strategy: :one_for_one]]}
      })

    refute inspect(:sys.get_state(supervisor), limit: :infinity) =~ "secret"
    {:ok, child} = :supervisor.get_childspec(supervisor, Conversation)
    refute inspect(child, limit: :infinity) =~ "secret"
  end
end
