defmodule AxonPort.Tool.RunnerTest do
  use ExUnit.Case, async: true

  import ExUnit.CaptureLog

  alias AxonPort.{Codec, Command, Tool}
  alias AxonPort.Tool.Runner

  defmodule Slow do
    @moduledoc false
    defexception [:test]

    @impl true
    def message(%{test: test}) do
      send(test, {:asked, self()})
      "slow"
    end
  end

  defmodule Strict do
    @moduledoc false
    def run(%{"never" => _}, _context), do: {:ok, 1}
    def look(%{args: %{"never" => _}}, _context), do: :approve
  end

  @moduletag :capture_log

  # The test is told of the crashes that are logged in its tasks, as programs hear of them.
  defp log_events do
    handler = :"#{__MODULE__}#{System.unique_integer([:positive])}"
    :ok = :logger.add_handler(handler, __MODULE__, %{config: self()})
    on_exit(fn -> :logger.remove_handler(handler) end)
  end

  @doc false
  def log(%{meta: %{crash_reason: reason}}, %{config: test}) do
    # A handler is called in the process that logs.
    if test in Process.get(:"$callers", []), do: send(test, {:logged, reason})
  end

  def log(_event, _config), do: :ok

  setup do
    %{tasks: start_supervised!(Task.Supervisor)}
  end

  # What the owner of a call would send, after the one message that it gets.
  defp answer_of(tasks, fields, args \\ %{}, context \\ %{}) do
    {:ok, %Task{ref: ref}} = Runner.start(tasks, tool(fields), args, Map.put(context, :call_id, "1"))
    answered(:tool, outcome(ref))
  end

  defp answered(kind, {:exit, reason}), do: answered(kind, Runner.lost(kind, "1", reason))

  defp answered(_kind, {%Command{} = command, _failure}) do
    {:ok, fields} = command |> Command.frame(1) |> IO.iodata_to_binary() |> Codec.decode()
    assert %{"call_id" => "1"} = fields
    Map.drop(fields, ["id", "type", "call_id"])
  end

  defp outcome(ref) do
    receive do
      {^ref, outcome} ->
        Process.demonitor(ref, [:flush])
        outcome

      {:DOWN, ^ref, :process, _pid, reason} ->
        {:exit, reason}
    after
      30_000 -> flunk("the task told nothing")
    end
  end

  defp tool(%Tool{} = tool), do: tool
  defp tool(run) when is_function(run), do: tool(run: run)
  defp tool(fields), do: Tool.new([name: "tried"] ++ fields)

  describe "a call" do
    test "gets its arguments cast, and its context" do
      run = fn %{day: day}, %{call_id: id} -> {:ok, {day.year, id}} end
      fields = [run: run, parameters: %{day: Date}]
      assert answer_of(tasks_here(), fields, %{"day" => "2026-11-20"}) == %{"result" => [2026, "1"]}
    end

    test "gets deps as JSON gives them back, or cast by the agent's type", %{tasks: tasks} do
      tool = tool(fn _args, %{deps: deps} -> {:ok, inspect(deps)} end)

      for {type, deps, seen} <- [
            {nil, %{user: %{id: 7}}, %{"user" => %{"id" => 7}}},
            {nil, [user: 7], %{"user" => 7}},
            {%{user: :integer, on: Date}, %{"user" => 7, "on" => "2026-11-20"},
             %{user: 7, on: ~D[2026-11-20]}},
            {nil, nil, nil}
          ] do
        agent = AxonPort.Agent.new(id: "a", model: "test", deps_schema: type)
        assert answer_of(tasks, tool, %{}, %{agent: agent, deps: deps}) == %{"result" => inspect(seen)}
      end
    end

    test "with arguments that have no value goes back to the model", %{tasks: tasks} do
      fields = [run: fn _args -> {:ok, 1} end, parameters: %{day: Date}]

      assert %{"retry" => "day: expected a Date" <> _rest} =
               answer_of(tasks, fields, %{"day" => "2026-02-31"})
    end

    test "may take arguments as they came, by a JSON Schema", %{tasks: tasks} do
      fields = [run: fn args -> {:ok, args} end, parameters: %{"type" => "object"}]
      assert answer_of(tasks, fields, %{"any" => [1]}) == %{"result" => %{"any" => [1]}}
    end

    for {returned, fields} <- [
          {{:ok, nil}, %{"result" => nil}},
          {{:ok, %{at: ~D[2026-11-20], state: :open}},
           %{"result" => %{"at" => "2026-11-20", "state" => "open"}}},
          {{:ok, 1, [%{type: "text", text: "x"}]},
           %{"result" => 1, "content" => [%{"type" => "text", "text" => "x"}]}},
          {{:retry, "again"}, %{"retry" => "again"}},
          {{:failed, "no"}, %{"failed" => "no"}},
          {{:error, "gone"}, %{"error" => "gone"}},
          {{:error, :enoent}, %{"error" => ":enoent"}},
          {{:error, %ArgumentError{message: "bad"}}, %{"error" => "bad"}},
          {{:error, "gone", %{node: :db1}}, %{"error" => "gone", "details" => %{"node" => "db1"}}}
        ] do
      test "that returns #{inspect(returned)} is answered so", %{tasks: tasks} do
        assert answer_of(tasks, fn _args -> unquote(Macro.escape(returned)) end) ==
                 unquote(Macro.escape(fields))
      end
    end

    for {what, run, told} <- [
          {"raises", quote(do: fn _ -> raise KeyError, key: :a, term: %{} end),
           "raised KeyError: key :a not found"},
          {"makes an error of Erlang's", quote(do: fn args -> args + 1 end), "raised ArithmeticError"},
          {"throws", quote(do: fn _ -> throw(:ball) end), "threw :ball"},
          {"exits", quote(do: fn _ -> exit(:bye) end), "exited: :bye"},
          {"is killed", quote(do: fn _ -> Process.exit(self(), :kill) end), "exited: killed"},
          {"exits normally", quote(do: fn _ -> exit(:normal) end), "exited: normal"},
          {"calls a process that is not there", quote(do: fn _ -> GenServer.call(:nobody, :x) end),
           "no process"},
          {"raises with bytes that are no text", quote(do: fn _ -> raise <<255>> end), "raised RuntimeError"},
          {"returns what is no outcome", quote(do: fn _ -> :done end), "cannot return :done"},
          {"returns a value without a form in JSON", quote(do: fn _ -> {:ok, %{a: self()}} end),
           "at a has no form"},
          {"exits with rows that look like a stacktrace",
           quote(do: fn _ -> exit({:invalid_rows, [{1, "Ada", 3, 4}, {2, "Bob", 4, 4}]}) end),
           "exited: {:invalid_rows, [{1, \"Ada\", 3, 4}"},
          {"exits with what looks like an error of Erlang's",
           quote(do: fn _ -> exit({:badarg, [{1, 2, 3, 4} | :improper]}) end), "exited: {:badarg"},
          {"is taken along by a process that exits with such rows",
           quote(
             do: fn _ ->
               spawn_link(fn -> exit({:badarg, [{1, "Ada", 3, 4}]}) end) && receive(do: (:never -> 1))
             end
           ), "by another process"},
          {"returns a value that is nested too deep",
           quote(do: fn _ -> {:ok, Enum.reduce(1..300, 1, fn _, value -> [value] end)} end), "200 levels"},
          {"tells a retry that is no text", quote(do: fn _ -> {:retry, 7} end), "cannot return {:retry, 7}"}
        ] do
      test "that #{what} is an error that says so", %{tasks: tasks} do
        assert %{"error" => message} = answer = answer_of(tasks, unquote(run))
        assert map_size(answer) == 1
        assert message =~ unquote(told)
        assert String.valid?(message)
      end
    end

    test "that raises a book has its first pages told", %{tasks: tasks} do
      book = String.duplicate("ä", 100_000)
      assert %{"error" => message} = answer_of(tasks, fn _args -> raise book end)
      assert String.length(message) in 8192..8300
    end

    test "has its answer encoded in the task: what reaches the owner is one binary, and a word on failure", %{
      tasks: tasks
    } do
      for {run, failure} <- [
            {fn _args -> {:ok, Enum.to_list(1..1000)} end, nil},
            {fn _args -> {:retry, "again"} end, nil},
            {fn _args -> {:error, :enoent} end, ":enoent"},
            {fn _args -> exit(:bye) end, "the tool exited: :bye"}
          ] do
        {:ok, %Task{ref: ref}} = Runner.start(tasks, tool(run), %{}, %{call_id: "1"})
        assert {%Command{type: "tool_result", body: body}, ^failure} = outcome(ref)
        assert is_binary(body)
      end
    end

    test "that raises is asked for its message in the task, and nowhere else", %{tasks: tasks} do
      test = self()
      run = fn _args -> raise Slow, test: test end
      {:ok, %Task{ref: ref, pid: pid}} = Runner.start(tasks, tool(run), %{}, %{call_id: "1"})
      assert %{"error" => "the tool raised" <> _} = answered(:tool, outcome(ref))
      assert_received {:asked, ^pid}
      {:messages, asked} = Process.info(self(), :messages)
      assert Enum.uniq(asked) in [[], [{:asked, pid}]]
    end

    test "that crashes is logged with its name and its stacktrace; one that only ends is not", %{tasks: tasks} do
      log = capture_log(fn -> answer_of(tasks, fn _args -> raise "for the log" end) end)
      assert log =~ "tool tried has crashed: ** (RuntimeError) for the log"
      assert log =~ "runner_test.exs"
      refute capture_log(fn -> answer_of(tasks, fn _args -> exit({:shutdown, :quietly}) end) end) =~ "quietly"
    end

    test "that no clause of its function takes is logged without its deps", %{tasks: tasks} do
      log_events()
      log = capture_log(fn -> answer_of(tasks, &Strict.run/2, %{}, %{deps: %{token: "secret"}}) end)
      assert log =~ "Strict.run/2"
      refute log =~ "secret"
      assert_receive {:logged, {%FunctionClauseError{}, stacktrace}}
      assert [{Strict, :run, 2, _location} | _] = stacktrace
    end

    test "that nobody can run is told to whoever starts it, and harms nobody" do
      full = start_supervised!({Task.Supervisor, max_children: 0}, id: :full)
      tool = tool(run: fn _args -> {:ok, 1} end, approve: fn _request, _context -> :approve end)

      for start <- [&Runner.start/4, &Runner.approve/4] do
        assert {:error, "the tasks' supervisor takes" <> _} = start.(full, tool, %{}, %{call_id: "1"})
        assert {:error, "the tasks' supervisor has gone"} = start.(:nobody, tool, %{}, %{call_id: "1"})
      end
    end

    test "that is stopped is dead at once, whatever it caught, and is not heard of again", %{tasks: tasks} do
      owner = self()

      stubborn = fn _args ->
        Process.flag(:trap_exit, true)
        send(owner, :begun)
        receive(do: (:never -> {:ok, 1}))
      end

      {:ok, task} = Runner.start(tasks, tool(stubborn), %{}, %{call_id: "1"})
      assert_receive :begun, 30_000
      watched = Process.monitor(task.pid)
      assert Runner.stop(task) == :ok
      assert_receive {:DOWN, ^watched, :process, _pid, :killed}, 30_000
      refute_received _anything
    end

    test "that had ended before it was stopped is not heard of again either", %{tasks: tasks} do
      {:ok, task} = Runner.start(tasks, tool(fn _args -> {:ok, 1} end), %{}, %{call_id: "1"})
      watched = Process.monitor(task.pid)
      assert_receive {:DOWN, ^watched, :process, _pid, :normal}, 30_000
      assert Runner.stop(task) == :ok
      refute_received _anything
    end

    test "that crashes takes nobody along", %{tasks: tasks} do
      assert %{"error" => _message} = answer_of(tasks, fn _args -> raise "alone" end)
      assert Process.alive?(tasks)
    end
  end

  describe "an approval" do
    defp verdict_of(tasks, approve) do
      parameters = %{amount: :integer}

      tool =
        tool(run: fn _args -> {:ok, 1} end, approve: approve, requires_approval: true, parameters: parameters)

      {:ok, %Task{ref: ref}} = Runner.approve(tasks, tool, %{"amount" => 30}, %{call_id: "1"})
      answered(:approval, outcome(ref))
    end

    test "is asked with name, cast arguments and context", %{tasks: tasks} do
      approve = fn %{name: name, args: args}, %{call_id: id} -> {:deny, "#{name} #{args.amount} #{id}"} end
      assert verdict_of(tasks, approve) == %{"approved" => false, "message" => "tried 30 1"}
    end

    for {said, fields} <- [
          {:approve, %{"approved" => true}},
          {{:approve, nil}, %{"approved" => true}},
          {{:approve, %{amount: 10}}, %{"approved" => true, "args" => %{"amount" => 10}}},
          {{:deny, "no"}, %{"approved" => false, "message" => "no"}}
        ] do
      test "of #{inspect(said)} is sent so", %{tasks: tasks} do
        approve = fn _request, _context -> unquote(Macro.escape(said)) end
        assert verdict_of(tasks, approve) == unquote(Macro.escape(fields))
      end
    end

    test "that no clause of its function gives is logged without the deps", %{tasks: tasks} do
      log_events()
      tool = tool(run: fn _args -> {:ok, 1} end, approve: &Strict.look/2)
      context = %{call_id: "1", deps: %{token: "secret"}}

      log =
        capture_log(fn ->
          {:ok, %Task{ref: ref}} = Runner.approve(tasks, tool, %{}, context)
          assert %{"approved" => false} = answered(:approval, outcome(ref))
        end)

      assert log =~ "Strict.look/2"
      refute log =~ "secret"
      assert_receive {:logged, {%FunctionClauseError{}, [{Strict, :look, 2, _location} | _]}}
    end

    test "that crashes, is killed, says nonsense, or that nobody gives, is a refusal", %{tasks: tasks} do
      killed = fn _, _ -> Process.exit(self(), :kill) end

      for approve <- [fn _, _ -> raise "ill" end, killed, fn _, _ -> true end, nil] do
        assert %{"approved" => false, "message" => message} = verdict_of(tasks, approve)
        assert message =~ "nobody"
      end
    end
  end

  test "arguments without a value are refused before anybody is asked", %{tasks: tasks} do
    asked = fn _request, _context -> raise "asked" end
    fields = [parameters: %{day: Date}, approve: asked, resolve: asked, run: fn _args -> {:ok, 1} end]
    args = %{"day" => "2026-02-31"}

    {:ok, %Task{ref: ref}} = Runner.approve(tasks, tool(fields), args, %{call_id: "1"})

    assert %{"approved" => false, "message" => "day: expected a Date" <> _rest} =
             answered(:approval, outcome(ref))

    for {call, key} <- [{%{}, "retry"}, {%{"approval" => true}, "message"}] do
      call = Map.merge(%{"call_id" => "c", "name" => "tried", "args" => args}, call)
      %Task{ref: ref} = Runner.resolve(tasks, tool(fields), call, %{})
      assert {:resolved, %{^key => "day: expected a Date" <> _rest}} = outcome(ref)
    end
  end

  test "a function of the worker that leaves its parameters to its signature is approved by arguments as they came",
       %{
         tasks: tasks
       } do
    approve = fn %{args: args}, _context -> {:deny, inspect(args)} end

    tool = tool(handler: {:python, "m:f"}, approve: approve)
    {:ok, %Task{ref: ref}} = Runner.approve(tasks, tool, %{"a" => 1}, %{call_id: "1"})
    assert %{"message" => message} = answered(:approval, outcome(ref))
    assert message == inspect(%{"a" => 1})
  end

  describe "a call that a run has left open" do
    defp entry_of(tasks, call, answer) do
      tool = tool(handler: :deferred, resolve: fn _call, _context -> answer end)
      %Task{ref: ref} = Runner.resolve(tasks, tool, call, %{call_id: "c"})
      outcome(ref)
    end

    @open %{"call_id" => "c", "name" => "tried", "args" => %{}}

    test "is resolved by an outcome, if it waits for one", %{tasks: tasks} do
      assert entry_of(tasks, @open, {:ok, :shipped}) == {:resolved, %{"result" => "shipped"}}
      assert entry_of(tasks, @open, {:retry, "r"}) == {:resolved, %{"retry" => "r"}}
      assert entry_of(tasks, @open, {:failed, "f"}) == {:resolved, %{"failed" => "f"}}
    end

    test "is resolved by a verdict, if it waits for that", %{tasks: tasks} do
      waiting = Map.put(@open, "approval", true)

      assert entry_of(tasks, waiting, {:approve, %{n: 1}}) ==
               {:resolved, %{"approved" => true, "args" => %{"n" => 1}}}

      assert entry_of(tasks, waiting, {:ok, 1}) == :later
    end

    test "may wait", %{tasks: tasks} do
      assert entry_of(tasks, @open, :later) == :later
    end

    test "is not resolved by what cannot answer it: it waits, and the log says why", %{tasks: tasks} do
      for answer <- [:approve, {:error, "no"}, {:ok, 1, []}] do
        log = capture_log(fn -> assert entry_of(tasks, @open, answer) == :later end)
        assert log =~ "tool tried has crashed: ** (ArgumentError)"
      end
    end

    test "that no clause of its function takes waits, and is logged without the deps", %{tasks: tasks} do
      log_events()
      tool = tool(handler: :deferred, resolve: &Strict.look/2)

      log =
        capture_log(fn ->
          %Task{ref: ref} = Runner.resolve(tasks, tool, @open, %{call_id: "c", deps: %{token: "secret"}})
          assert outcome(ref) == :later
        end)

      assert log =~ "Strict.look/2"
      refute log =~ "secret"
      assert_receive {:logged, {%FunctionClauseError{}, [{Strict, :look, 2, _location} | _]}}
    end
  end

  defp tasks_here, do: start_supervised!({Task.Supervisor, []}, id: :own)
end
