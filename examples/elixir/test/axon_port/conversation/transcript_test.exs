defmodule AxonPort.Conversation.TranscriptTest do
  use ExUnit.Case, async: true

  alias AxonPort.Conversation.Transcript

  defp said(text), do: %{"text" => text}
  defp open_call(id), do: %{"call_id" => id, "name" => "ship", "args" => %{}}

  defp turn(transcript, messages), do: transcript |> Transcript.begin_turn() |> Transcript.add(messages, nil)

  test "keeps turns in their order, and the messages in them" do
    transcript =
      %Transcript{} |> turn([said("a"), said("b")]) |> turn([said("c")]) |> Transcript.add([said("d")], nil)

    assert Transcript.history(transcript) == Enum.map(~w(a b c d), &said/1)
    assert Transcript.last_turn(transcript) == [said("c"), said("d")]
  end

  test "a turn of which nothing is known has not taken place" do
    before = turn(%Transcript{}, [said("a")])
    assert before |> Transcript.begin_turn() |> Transcript.add([], nil) |> Transcript.end_turn() == before
    assert Transcript.end_turn(before) == before
  end

  test "sums what was spent, also by a run that said nothing" do
    usage = %{"requests" => 1, "total_tokens" => 10, "details" => %{"x" => 1}}
    transcript = %Transcript{} |> Transcript.add([said("a")], usage) |> Transcript.add(nil, usage)
    assert transcript.usage == %{"requests" => 2, "total_tokens" => 20}

    assert Transcript.spent(transcript, Transcript.add(%Transcript{}, nil, usage)) == %{
             "requests" => 1,
             "total_tokens" => 10
           }
  end

  test "open calls are answered one after the other, and only those that there are" do
    transcript = Transcript.leave_open(%Transcript{}, [open_call("1"), open_call("2")])
    assert {:error, ["3"]} = Transcript.answer(transcript, %{"1" => %{}, "3" => %{}})

    assert {:ok, transcript} = Transcript.answer(transcript, %{"2" => %{"result" => 1}})
    assert Transcript.unanswered(transcript) == [open_call("1")]

    assert {:ok, transcript} = Transcript.answer(transcript, %{"1" => %{"failed" => "no"}})
    assert Transcript.unanswered(transcript) == []
    assert transcript.answers == %{"1" => %{"failed" => "no"}, "2" => %{"result" => 1}}
  end

  test "what was answered is open until a message comes back" do
    transcript = %Transcript{} |> turn([said("a")]) |> Transcript.leave_open([open_call("1")])
    {:ok, transcript} = Transcript.answer(transcript, %{"1" => %{"result" => 1}})

    assert %{open: [_], answers: %{"1" => _}} = Transcript.add(transcript, nil, nil)
    assert %{open: [], answers: answers} = Transcript.add(transcript, [said("b")], nil)
    assert answers == %{}
  end

  test "a turn that is taken back leaves nothing open" do
    first = turn(%Transcript{}, [said("a")])
    second = first |> turn([said("b")]) |> Transcript.leave_open([open_call("1")])
    assert Transcript.rewind(second) == first
    assert Transcript.rewind(%Transcript{}) == %Transcript{}
  end

  test "comes back from plain data as it was" do
    transcript =
      %Transcript{}
      |> turn([said("a")])
      |> turn([said("b")])
      |> Transcript.add(nil, %{"requests" => 1})
      |> Transcript.leave_open([open_call("1"), open_call("2")])

    {:ok, transcript} = Transcript.answer(transcript, %{"1" => %{"result" => nil}})
    dumped = Transcript.dump(transcript)
    assert AxonPort.Plain.from!(dumped) == dumped
    assert Transcript.load(dumped) == {:ok, transcript}
  end

  test "does not come back from anything else" do
    dumped = Transcript.dump(%Transcript{})

    for broken <- [nil, [], %{}, %{dumped | "turns" => [%{}]}, %{dumped | "open" => [%{"call_id" => "1"}]}] do
      assert Transcript.load(broken) == :error
    end
  end
end
