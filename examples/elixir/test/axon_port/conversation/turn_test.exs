defmodule AxonPort.Conversation.TurnTest do
  use ExUnit.Case, async: true

  alias AxonPort.{Backoff, Error, Result}
  alias AxonPort.Conversation.{Transcript, Turn}

  @limits %{attempts: 3, backoff: %Backoff{base: 100, max: 1000}, max_rounds: 2}
  @said [%{"kind" => "request"}]
  @call %{"call_id" => "1", "name" => "ship", "args" => %{}}

  defp asked, do: run(Turn.ask(%Transcript{}, "one", %{}))
  defp run({:run, turn}), do: turn

  defp failed(fields \\ []),
    do: {:error, struct!(%Error{reason: :timeout, retryable: true, message: "late"}, fields)}

  defp complete(fields),
    do: {:ok, struct!(%Result{output: "done", messages: @said, usage: %{"requests" => 1}}, fields)}

  defp deferred, do: {:ok, %Result{status: :deferred, deferred: %{"calls" => [@call]}, messages: @said}}

  describe "a run that ends well" do
    test "ends the turn, with the messages and the usage of all its runs" do
      {:wait, _ms, turn} = Turn.ran(asked(), failed(messages: @said, usage: %{"requests" => 2}), @limits)

      assert {:over, {:ok, result}, transcript} =
               Turn.ran(turn, complete(messages: [%{"kind" => "response"}]), @limits)

      assert result.output == "done"
      assert result.messages == @said ++ [%{"kind" => "response"}]
      assert result.usage == %{"requests" => 3}
      assert Transcript.history(transcript) == result.messages
    end

    test "counts only what this turn has cost" do
      {:over, _outcome, first} = Turn.ran(asked(), complete([]), @limits)
      {:run, turn} = Turn.ask(first, "two", %{})
      assert {:over, {:ok, %{usage: %{"requests" => 1}}}, both} = Turn.ran(turn, complete([]), @limits)
      assert both.usage == %{"requests" => 2}
    end
  end

  describe "a run that fails" do
    test "is made again with the prompt, if nothing is known of it" do
      assert {:wait, ms, turn} = Turn.ran(asked(), failed(), @limits)
      assert ms in 50..100
      assert turn.prompt == "one"
      assert Turn.inputs(turn) == [history: []]
    end

    test "is made again from what had been said, without the prompt" do
      assert {:wait, _ms, turn} = Turn.ran(asked(), failed(messages: @said), @limits)
      assert turn.prompt == nil
      assert Turn.inputs(turn) == [history: @said]
    end

    test "waits longer each time, and as long as the provider says" do
      {:wait, _ms, turn} = Turn.ran(asked(), failed(), @limits)
      assert {:wait, ms, turn} = Turn.ran(turn, failed(), @limits)
      assert ms in 100..200
      assert {:wait, 60_000, _turn} = Turn.ran(asked(), failed(retry_after_ms: 60_000), @limits)
      assert {:over, {:error, %Error{reason: :timeout}}, _transcript} = Turn.ran(turn, failed(), @limits)
    end

    test "waits no longer than a timer can" do
      assert {:wait, ms, _turn} = Turn.ran(asked(), failed(retry_after_ms: 2 ** 40), @limits)
      assert ms == AxonPort.Milliseconds.longest()
    end

    test "ends the turn where another attempt cannot help, or was cancelled" do
      assert {:over, {:error, _error}, _transcript} = Turn.ran(asked(), failed(retryable: false), @limits)

      assert {:over, {:error, _error}, _transcript} =
               Turn.ran(%{asked() | cancelled: true}, failed(), @limits)
    end

    test "leaves a turn in the transcript only if something is known of it" do
      assert {:over, _outcome, %Transcript{turns: []}} = Turn.ran(asked(), failed(retryable: false), @limits)

      assert {:over, _outcome, %Transcript{turns: [@said]}} =
               Turn.ran(asked(), failed(retryable: false, messages: @said), @limits)
    end
  end

  describe "a run that leaves calls open" do
    test "has them put to somebody; with the last answer the turn goes on" do
      assert {:resolve, [@call], turn} = Turn.ran(asked(), deferred(), @limits)

      assert {:over, {:ok, %{status: :deferred, deferred: %{"calls" => [@call]}}}, _transcript} =
               Turn.carry_on(turn)

      assert {:run, turn} = turn |> Turn.resolved("1", %{"result" => 1}) |> Turn.carry_on()
      assert turn.prompt == nil
      assert Turn.inputs(turn) == [history: @said, deferred_results: %{"1" => %{"result" => 1}}]
    end

    test "has as many attempts afterwards as at first" do
      {:wait, _ms, turn} = Turn.ran(asked(), failed(), @limits)
      {:wait, _ms, turn} = Turn.ran(turn, failed(), @limits)
      {:resolve, _calls, turn} = Turn.ran(turn, deferred(), @limits)
      assert {:wait, _ms, _turn} = Turn.ran(turn, failed(), @limits)
    end

    test "is left so once the rounds are used up, or the turn was cancelled" do
      assert {:over, {:ok, %{status: :deferred}}, transcript} =
               Turn.ran(%{asked() | rounds: 2}, deferred(), @limits)

      assert transcript.open == [@call]

      assert {:over, {:ok, %{status: :deferred}}, _transcript} =
               Turn.ran(%{asked() | cancelled: true}, deferred(), @limits)
    end
  end

  describe "a transcript with open calls" do
    setup do
      {:resolve, _calls, turn} = Turn.ran(asked(), deferred(), @limits)
      {:over, _outcome, transcript} = Turn.carry_on(turn)
      {:ok, answered} = Transcript.answer(transcript, %{"1" => %{"result" => 1}})
      %{open: transcript, answered: answered}
    end

    test "takes no prompt and cannot be resumed", %{open: open} do
      assert {:error, %Error{reason: :calls_open}} = Turn.ask(open, "two", %{})
      assert {:error, %Error{reason: :calls_open}} = Turn.resume(open, %{})
    end

    test "takes answers to its own calls", %{open: open} do
      assert {:error, %Error{reason: :no_such_call}} = Turn.answer(open, %{"2" => %{}}, %{})
      assert {:over, {:ok, %{status: :deferred}}, ^open} = Turn.answer(open, %{}, %{})
      assert {:run, _turn} = Turn.answer(open, %{"1" => %{"result" => 1}}, %{})
    end

    test "can be resumed once all are answered, and takes no prompt before", %{answered: answered} do
      assert {:error, %Error{reason: :calls_open, message: message}} = Turn.ask(answered, "two", %{})
      assert message =~ "resumed"
      assert {:run, turn} = Turn.resume(answered, %{})
      assert Keyword.fetch!(Turn.inputs(turn), :deferred_results) == %{"1" => %{"result" => 1}}
    end
  end

  test "a transcript without open calls takes no answers" do
    assert {:error, %Error{reason: :no_such_call}} = Turn.answer(%Transcript{}, %{}, %{})
  end
end
