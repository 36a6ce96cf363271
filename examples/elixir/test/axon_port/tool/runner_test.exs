defmodule AxonPort.Tool.RunnerTest do
  use ExUnit.Case, async: true

  alias AxonPort.Tool
  alias AxonPort.Tool.Runner

  @moduletag :capture_log

  setup do
    %{tasks: start_supervised!(Task.Supervisor)}
  end

  # What the owner of a call would send, after the one message that it gets.
  defp answer_of(tasks, fields, args \\ %{}) do
    %Task{ref: ref} = Runner.start(tasks, tool(fields), args, %{call_id: "1"})
    Runner.answer(outcome(ref))
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
        %Task{ref: ref} = Runner.start(tasks, tool, %{}, %{agent: agent, deps: deps})
        assert outcome(ref) == {:ok, inspect(seen)}
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

    test "that is stopped is dead at once, whatever it caught, and is not heard of again", %{tasks: tasks} do
      owner = self()

      stubborn = fn _args ->
        Process.flag(:trap_exit, true)
        send(owner, :begun)
        receive(do: (:never -> {:ok, 1}))
      end

      task = Runner.start(tasks, tool(stubborn), %{}, %{})
      assert_receive :begun, 30_000
      watched = Process.monitor(task.pid)
      assert Runner.stop(task) == :ok
      assert_receive {:DOWN, ^watched, :process, _pid, :killed}, 30_000
      refute_received _anything
    end

    test "that had ended before it was stopped is not heard of again either", %{tasks: tasks} do
      task = Runner.start(tasks, tool(fn _args -> {:ok, 1} end), %{}, %{})
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

  test "a limit that has passed asks the model to try again" do
    assert Runner.answer(:timeout) == %{"retry" => "the call took too long"}
  end

  describe "an approval" do
    defp verdict_of(tasks, approve) do
      parameters = %{amount: :integer}

      tool =
        tool(run: fn _args -> {:ok, 1} end, approve: approve, requires_approval: true, parameters: parameters)

      %Task{ref: ref} = Runner.approve(tasks, tool, %{"amount" => 30}, %{call_id: "1"})
      Runner.verdict(outcome(ref))
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

    test "that crashes, says nonsense, or that nobody gives, is a refusal", %{tasks: tasks} do
      for approve <- [fn _, _ -> raise "ill" end, fn _, _ -> true end, nil] do
        assert %{"approved" => false, "message" => message} = verdict_of(tasks, approve)
        assert message =~ "nobody"
      end
    end
  end

  test "arguments without a value are refused before anybody is asked", %{tasks: tasks} do
    asked = fn _request, _context -> raise "asked" end
    fields = [parameters: %{day: Date}, approve: asked, resolve: asked, run: fn _args -> {:ok, 1} end]
    args = %{"day" => "2026-02-31"}

    %Task{ref: ref} = Runner.approve(tasks, tool(fields), args, %{})
    assert {:deny, "day: expected a Date" <> _rest} = outcome(ref)

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

    %Task{ref: ref} =
      Runner.approve(tasks, tool(handler: {:python, "m:f"}, approve: approve), %{"a" => 1}, %{})

    assert outcome(ref) == {:deny, inspect(%{"a" => 1})}
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

      assert {:exit, {%ArgumentError{}, _}} = entry_of(tasks, waiting, {:ok, 1})
    end

    test "may wait", %{tasks: tasks} do
      assert entry_of(tasks, @open, :later) == :later
    end

    test "is not resolved by what cannot answer it", %{tasks: tasks} do
      for answer <- [:approve, {:error, "no"}, {:ok, 1, []}] do
        assert {:exit, {%ArgumentError{}, _}} = entry_of(tasks, @open, answer)
      end
    end
  end

  defp tasks_here, do: start_supervised!({Task.Supervisor, []}, id: :own)
end
