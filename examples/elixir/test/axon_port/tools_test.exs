defmodule AxonPort.ToolsTest do
  @moduledoc "Tools of this node, called by a real worker."
  use ExUnit.Case, async: true

  import AxonPort.RealWorker

  alias AxonPort.{Error, Result, Worker}

  @patience AxonPort.RealWorker.patience()

  setup_all do
    %{worker: start_worker()}
  end

  # One call of the tool, then an answer.
  defp calling(id, tool, turns \\ [%{text: "done"}]) do
    tool = Keyword.merge([name: "act"], tool)
    scripted(id, [%{tool_calls: [%{name: "act", args: %{n: 3}}]} | turns], tools: [tool])
  end

  defp act(run), do: [parameters: %{n: :integer}, run: run]

  # What the model was told, of the tool's return or of a retry.
  defp told(%Result{messages: messages}) do
    for %{"parts" => parts} <- messages,
        %{"part_kind" => kind, "content" => content} <- parts,
        kind in ["tool-return", "retry-prompt"],
        do: content
  end

  test "a value reaches the model, cast arguments the tool", %{worker: worker} do
    agent = calling("value", act(fn %{n: n} -> {:ok, %{square: n * n, on: ~D[2026-11-20]}} end))
    assert {:ok, %Result{output: "done"} = result} = AxonPort.run_sync(worker, agent, "go")
    assert told(result) == [%{"square" => 9, "on" => "2026-11-20"}]
  end

  test "a tool knows whom it works for", %{worker: worker} do
    test = self()
    agent = calling("context", act(fn _args, context -> send(test, {:context, context}) && {:ok, nil} end))
    {:ok, _result} = AxonPort.run_sync(worker, agent, "go", deps: %{shop: "north"})
    assert_receive {:context, %{agent: ^agent, call_id: call_id, run_id: ref, deps: %{"shop" => "north"}}}
    assert is_binary(call_id) and is_reference(ref)
  end

  test "a retry and a failure are told to the model, each in its own way", %{worker: worker} do
    retry = calling("retry", act(fn _args -> {:retry, "another number"} end))
    assert {:ok, result} = AxonPort.run_sync(worker, retry, "go")
    assert told(result) == ["another number"]
    failed = calling("failed", act(fn _args -> {:failed, "closed"} end))
    assert {:ok, result} = AxonPort.run_sync(worker, failed, "go")
    assert inspect(told(result)) =~ "closed"
  end

  for {how, run} <- [
        raises: quote(do: fn _args -> raise "boom" end),
        throws: quote(do: fn _args -> throw(:boom) end),
        exits: quote(do: fn _args -> exit(:boom) end),
        is_killed: quote(do: fn _args -> Process.exit(self(), :kill) end),
        returns_nonsense: quote(do: fn _args -> :boom end),
        has_no_json: quote(do: fn _args -> {:ok, self()} end),
        is_an_error: quote(do: fn _args -> {:error, "boom"} end)
      ] do
    test "a tool that #{how} ends its run and nothing else", %{worker: worker} do
      agent = calling("#{unquote(how)}", act(unquote(run)))
      assert {:error, %Error{reason: :tool_error}} = AxonPort.run_sync(worker, agent, "go")
      assert %{calls: 0} = Worker.info(worker)
    end
  end

  test "an answer longer than a frame ends its run and nothing else" do
    worker = start_worker(max_frame_bytes: 5_000)
    agent = calling("long", act(fn _args -> {:ok, String.duplicate("x", 5_000)} end))
    assert {:error, %Error{reason: :tool_error, message: message}} = AxonPort.run_sync(worker, agent, "go")
    assert message =~ "longer than a frame"
    assert %{inflight: 0, calls: 0} = Worker.info(worker)
  end

  test "a call for which there is no task any more ends its run and nothing else" do
    tasks = start_supervised!({Task.Supervisor, max_children: 1})
    worker = start_worker(task_supervisor: tasks)
    test = self()
    wait = fn _args -> send(test, {:tool, self()}) && receive(do: (:go -> {:ok, 1})) end
    {:ok, ref} = AxonPort.run(worker, calling("first", act(wait)), "go")
    assert_receive {:tool, tool}, @patience
    agent = calling("second", act(fn _args -> {:ok, 1} end))
    assert {:error, %Error{reason: :tool_error, message: message}} = AxonPort.run_sync(worker, agent, "go")
    assert message =~ "takes no further one"
    send(tool, :go)
    assert_receive {:axon_port, ^ref, {:result, %Result{output: "done"}}}, @patience
  end

  test "a tool that takes too long is killed, and the model asked again", %{worker: worker} do
    test = self()
    run = fn _args -> send(test, {:tool, self()}) && receive(do: (:never -> {:ok, 1})) end
    agent = calling("late", [timeout: 1_000] ++ act(run))
    {:ok, ref} = AxonPort.run(worker, agent, "go")
    assert_receive {:tool, tool}, @patience
    monitor = Process.monitor(tool)
    assert_receive {:DOWN, ^monitor, :process, _, reason} when reason in [:killed, :noproc], @patience
    assert_receive {:axon_port, ^ref, {:result, %Result{output: "done"}}}, @patience
  end

  test "a run that is cancelled takes its tools along", %{worker: worker} do
    test = self()
    run = fn _args -> send(test, {:tool, self()}) && receive(do: (:never -> {:ok, 1})) end
    {:ok, ref} = AxonPort.run(worker, calling("cancelled", act(run)), "go")
    assert_receive {:tool, tool}, @patience
    monitor = Process.monitor(tool)
    assert {:ok, true} = AxonPort.cancel(worker, ref)
    assert_receive {:DOWN, ^monitor, :process, _, :killed}, @patience
    assert_receive {:axon_port, ^ref, {:error, %Error{reason: :cancelled, messages: [_ | _]}}}, @patience
    assert %{calls: 0} = Worker.info(worker)
  end

  test "an approval lets a call through, with other arguments if they are given", %{worker: worker} do
    approve = fn %{name: "act", args: %{n: 3}}, _context -> {:approve, %{n: 4}} end
    agent = calling("approved", [approve: approve] ++ act(fn %{n: n} -> {:ok, n * n} end))
    assert {:ok, result} = AxonPort.run_sync(worker, agent, "go")
    assert told(result) == [16]
  end

  test "a refusal is what the model sees", %{worker: worker} do
    deny = fn _request, _context -> {:deny, "not today"} end
    agent = calling("denied", [approve: deny] ++ act(fn _args -> flunk("it was refused") end))
    assert {:ok, result} = AxonPort.run_sync(worker, agent, "go")
    assert inspect(told(result)) =~ "not today"
  end

  test "somebody who cannot be asked refuses", %{worker: worker} do
    agent =
      calling(
        "unasked",
        [approve: fn _request, _context -> raise "asleep" end] ++ act(fn _args -> {:ok, 1} end)
      )

    assert {:ok, result} = AxonPort.run_sync(worker, agent, "go")
    assert inspect(told(result)) =~ "nobody could be asked"
  end

  test "a run ends with calls open, and is carried on with their results", %{worker: worker} do
    tool = [name: "act", handler: :deferred, parameters: %{n: :integer}]
    agent = calling("deferred", tool)

    assert {:ok, %Result{status: :deferred, output: nil} = open} =
             AxonPort.run_sync(worker, agent, "go", messages: :all)

    assert %{"calls" => [%{"name" => "act", "args" => %{"n" => 3}, "call_id" => call_id}]} = open.deferred

    # Each run plays its script from the first turn on.
    rest = scripted("deferred", [%{text: "done"}], tools: [tool])
    carried = [history: open.messages, deferred_results: %{call_id => %{result: 9}}, messages: :all]

    assert {:ok, %Result{status: :complete, output: "done"} = result} =
             AxonPort.run_sync(worker, rest, nil, carried)

    assert 9 in told(result)
  end

  test "many calls of one answer are under way together", %{worker: worker} do
    test = self()
    run = fn %{n: n} -> send(test, {:tool, n, self()}) && receive(do: (:go -> {:ok, n})) end
    calls = for n <- 1..20, do: %{name: "act", args: %{n: n}}
    agent = scripted("many", [%{tool_calls: calls}, %{text: "done"}], tools: [[name: "act"] ++ act(run)])
    {:ok, ref} = AxonPort.run(worker, agent, "go")
    tools = for n <- 1..20, do: assert_receive({:tool, ^n, _pid}, @patience) |> elem(2)
    assert %{calls: 20} = Worker.info(worker)
    for tool <- Enum.reverse(tools), do: send(tool, :go)
    assert_receive {:axon_port, ^ref, {:result, result}}, @patience
    assert Enum.sort(told(result)) == Enum.to_list(1..20)
  end

  test "a run uses the tools of its own definition, though another has its name by now", %{worker: worker} do
    test = self()
    run = fn _args -> send(test, {:tool, self()}) && receive(do: (:go -> {:ok, "old"})) end
    {:ok, ref} = AxonPort.run(worker, calling("same", act(run)), "go")
    assert_receive {:tool, tool}, @patience
    assert {:ok, other} = AxonPort.run_sync(worker, calling("same", act(fn _args -> {:ok, "new"} end)), "go")
    assert told(other) == ["new"]
    send(tool, :go)
    assert_receive {:axon_port, ^ref, {:result, result}}, @patience
    assert told(result) == ["old"]
  end

  test "an output that is a struct arrives as one", %{worker: worker} do
    agent = scripted("cast", [%{output: %{day: "2026-11-20"}}], output: %{day: Date})
    assert {:ok, %Result{output: %{day: ~D[2026-11-20]}}} = AxonPort.run_sync(worker, agent, "go")
    {:ok, ref} = AxonPort.run(worker, agent, "go")
    assert_receive {:axon_port, ^ref, {:result, %Result{output: %{day: ~D[2026-11-20]}}}}, @patience

    assert [%Result{output: %{day: ~D[2026-11-20]}}] =
             worker |> AxonPort.run_stream(agent, "go") |> Enum.take(-1)
  end
end
