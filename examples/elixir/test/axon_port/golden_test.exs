defmodule AxonPort.GoldenTest do
  @moduledoc "The frames that pytest reads too: what they mean, and that this side writes the same."
  use ExUnit.Case, async: true

  alias AxonPort.{Agent, Codec, Command, Request, Run, Session}
  alias AxonPort.Tool.Runner

  @golden __DIR__
          |> Path.join("../golden/frames.jsonl")
          |> File.stream!()
          |> Enum.map(fn line ->
            {:ok, %{"name" => name, "hex" => hex, "value" => value}} = Codec.decode(line)
            {name, Base.decode16!(hex, case: :lower), value}
          end)

  @commands for {name, _frame, %{"type" => type} = value} <- @golden,
                type not in ~w(ready result error chunk tool_call tool_cancel approval_request log goodbye),
                do: {name, value}

  for {name, frame, _value} <- @golden, codec <- Codec.available() do
    test "#{name} means the same to #{inspect(codec)}" do
      <<length::32, payload::binary-size(length)>> = unquote(frame)
      assert Codec.decode(payload, unquote(codec)) == {:ok, value(unquote(name))}
    end

    test "#{name} is written by #{inspect(codec)} so that it is read again" do
      value = value(unquote(name))
      {:ok, text} = Codec.encode(value, unquote(codec))
      assert Codec.decode(text, unquote(codec)) == {:ok, value}
    end
  end

  for {name, _frame, %{"type" => type}} <- @golden,
      {name, type} not in Enum.map(@commands, fn {n, v} -> {n, v["type"]} end) do
    test "a session understands #{name}" do
      {:ok, payload} = Codec.encode(value(unquote(name)))
      {_session, effects} = Session.receive_frame(session(), payload)
      refute Enum.any?(effects, &match?({:fault, _error}, &1))
    end
  end

  for {name, _value} <- @commands do
    test "#{name} is what this side says" do
      value = value(unquote(name))
      {:ok, said} = unquote(name) |> say() |> IO.iodata_to_binary() |> Codec.decode()
      assert said == value
    end
  end

  for {name, _frame, %{"error_type" => type}} <- @golden do
    test "#{name} has a reason of its own" do
      assert %AxonPort.Error{reason: reason, error_type: unquote(type)} =
               AxonPort.Error.from_frame(value(unquote(name)))

      assert AxonPort.Error.reasons()[reason] == unquote(type)
    end
  end

  defp value(name), do: Enum.find_value(@golden, fn {known, _frame, value} -> known == name && value end)

  # A session with the run and the stream that the golden events are about.
  defp session do
    Enum.reduce([run: 4, stream: 6, command: 9], Session.new(), fn {kind, id}, session ->
      {session, _sent} = Session.open(session, Request.new(kind, Command.new!("any"), id: id))
      session
    end)
  end

  defp say("create_agent") do
    agent =
      Agent.new(
        id: "support",
        model: {:script, [%{tool_calls: [%{name: "lookup", args: %{q: "17"}}]}, %{text: "It has shipped."}]},
        instructions: "You help {{customer.name}}.",
        deps: %{customer: %{name: "Ada"}},
        tools: [
          [
            name: "lookup",
            description: "Finds an order.",
            parameters: %{q: :string},
            timeout: 5000,
            run: &{:ok, &1}
          ],
          [name: "refund", run: &{:ok, &1}, approve: fn _request, _context -> :approve end]
        ],
        retries: 2,
        timeout: 60_000
      )

    {:ok, command} = Run.definition(agent)
    Command.frame(command, 1)
  end

  defp say("delete_agent"), do: command(2, "delete_agent", agent_id: "support")
  defp say("list_agents"), do: command(3, "list_agents")

  defp say("run") do
    run(4, :run, "Where is my order?",
      timeout: 30_000,
      deps: %{customer: %{name: "Grace"}},
      messages: :all,
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    )
  end

  defp say("run, carried on"),
    do: run(5, :run, nil, history: [], deferred_results: %{call_x1: %{result: "shipped"}})

  defp say("stream") do
    run(6, :stream, [%{type: :text, text: "Tell me"}], events: [:text, :tool_call], credit: 10)
  end

  defp say("credit") do
    [{:send, frame}] = Session.credit(session(), 6, 8)
    frame
  end

  defp say("tool_result, a value"), do: answer("1", {:ok, %{order: 17, state: :shipped}})
  defp say("tool_result, null"), do: answer("1", {:ok, nil})
  defp say("tool_result, retry"), do: answer("1", {:retry, "q must name an order"})
  defp say("tool_result, failed"), do: answer("1", {:failed, "the shop is closed"})
  defp say("tool_result, error"), do: answer("1", {:error, "the database is gone", %{node: :db1}})
  defp say("approval, given"), do: verdict("2", {:approve, %{amount: 10}})
  defp say("approval, refused"), do: verdict("2", {:deny, "closed today"})

  defp say("cancel") do
    # Ids are given in their order: seven of them have been used.
    {_session, effects} = Session.abandon(%{session() | next_id: 7}, 4, AxonPort.Error.new(:owner_timeout))
    [{:settled, _request, _outcome}, {:send, frame}] = effects
    frame
  end

  defp say("enqueue"), do: command(8, "enqueue", target: 4, prompt: "be brief", priority: :when_idle)
  defp say("ping"), do: command(9, "ping")
  defp say("stats"), do: command(10, "stats")
  defp say("set_log_level"), do: command(11, "set_log_level", level: :debug)

  defp say("shutdown") do
    {_session, [{:send, frame}]} = Session.drain(%{Session.new() | next_id: 12}, 2000)
    frame
  end

  defp command(id, type, fields \\ %{}), do: type |> Command.new!(fields) |> Command.frame(id)

  defp run(id, kind, prompt, options) do
    {:ok, request} = Run.request(kind, "support", prompt, options)
    {_session, [{:send, frame}]} = Session.open(Session.new(), %{request | id: id})
    frame
  end

  defp answer(call_id, outcome), do: answered("tool_call", :tool, call_id, Runner.answer(outcome))
  defp verdict(call_id, said), do: answered("approval_request", :approval, call_id, Runner.verdict(said))

  defp answered(asked_by, kind, call_id, fields) do
    {:ok, command} = Command.answer(kind, call_id, fields)
    event = %{type: asked_by, id: 4, call_id: call_id, agent_id: "support", name: "any", args: %{}}
    {session, _call} = Session.receive_frame(session(), Codec.encode!(event))
    {_session, [{:send, frame}]} = Session.answer(session, 4, call_id, command)
    frame
  end
end
